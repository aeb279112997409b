import { z } from "zod";
import { defineCommand } from "../command.ts";
import { openStack } from "../open-stack.ts";
import { absolutePath, optional } from "../parameters.ts";
import { removeExpired, removeScratch, scratchNoteOf } from "../recovery/scratch.ts";

export const command = defineCommand({
  help: "Stops a scratch instance and removes its folder; without a folder, every one that has expired or that a killed command left behind. The live database is not touched.",
  examples: [
    { run: "ctm restore remove /var/tmp/before", does: "that one, whatever its expiry" },
    { run: "ctm restore remove", does: "those that have expired" },
  ],
  arguments: { directory: optional("FOLDER", "folder of a scratch instance", absolutePath) },
  flags: {},
  document: z.strictObject({ removed: z.array(z.string()) }),
  async run({ directory }, context) {
    const { paths } = await openStack(context);
    if (directory === undefined) return { removed: await removeExpired(paths, new Date()) };
    const note = await scratchNoteOf(paths, directory);
    await removeScratch(paths, note);
    return { removed: [note.directory] };
  },
  render: ({ removed }) =>
    removed.length === 0 ? "nothing has expired" : `removed: ${removed.join(", ")}`,
});
