import { z } from "zod";
import { defineCommand } from "../command.ts";
import { openStack } from "../open-stack.ts";
import { table } from "../paint.ts";
import { verifyRepository } from "../recovery/verify.ts";
import { countText, durationText } from "../text.ts";

const verifyDocument = z.strictObject({
  repositories: z.array(
    z.strictObject({
      name: z.string(),
      backups: z.array(z.strictObject({ label: z.string(), files: z.int() })),
      wal_files: z.int(),
    }),
  ),
  damages: z.array(
    z.strictObject({
      repository: z.string(),
      file: z.string(),
      what: z.string(),
      backup: z.string().nullable(),
    }),
  ),
  took_ms: z.int(),
});

export const command = defineCommand({
  help: "Reads every file of every kept backup and all archived WAL, in every repository, and compares them with the checksums that were stored with them. Takes as long as reading all of it: run it when the disks are quiet. Exits 3 when anything is damaged. What is missing as a whole is told by ctm backup audit.",
  examples: [{ run: "ctm backup verify", does: "every damaged file, and whose it is" }],
  arguments: {},
  flags: {},
  document: verifyDocument,
  async run(_, context) {
    const begun = Date.now();
    const { descriptor } = await openStack(context);
    const found = [];
    for (const repository of descriptor.backup.repositories) {
      // One after the other: each uses all the cores that pgBackRest may.
      found.push(await verifyRepository(descriptor, repository, context));
    }
    return {
      repositories: found.map(({ repository, backups, walFiles }) => ({
        name: repository,
        backups,
        wal_files: walFiles,
      })),
      damages: found.flatMap(({ damages }) => damages),
      took_ms: Date.now() - begun,
    };
  },
  render({ repositories, damages, took_ms }, paint) {
    const lines = repositories.map(({ name, backups, wal_files }) => {
      const files = backups.reduce((sum, each) => sum + each.files, 0);
      return `repository ${name}: ${countText(files, "file")} of ${countText(backups.length, "backup")} and ${countText(wal_files, "WAL file")} read`;
    });
    if (damages.length === 0) {
      return [...lines, paint.good(`nothing is damaged (${durationText(took_ms)})`)].join("\n");
    }
    const rows = damages.map(({ repository, file, what, backup }) => [
      repository,
      backup ?? "",
      what,
      file,
    ]);
    return [
      ...lines,
      "",
      paint.bad(countText(damages.length, "damaged file")),
      table([["REPOSITORY", "BACKUP", "WHAT", "FILE"], ...rows], paint),
      "",
      "next: ctm backup full    a damaged backup, and those that build on it, cannot be trusted",
    ].join("\n");
  },
  exitCode: ({ damages }) => (damages.length === 0 ? 0 : 3),
});
