import { z } from "zod";
import { defineCommand } from "../command.ts";
import { openStack } from "../open-stack.ts";
import { table } from "../paint.ts";
import { serverPid } from "../recovery/instance.ts";
import { instanceDirectories } from "../recovery/restore-files.ts";
import { scratchNotes } from "../recovery/scratch.ts";
import { durationText, timeText } from "../text.ts";

export const command = defineCommand({
  help: "Lists the scratch instances that restore --into made: what moment each is at, how to connect, and when it expires. The next restore or drill removes what has expired.",
  examples: [{ run: "ctm restore list", does: "every scratch instance of the stack" }],
  arguments: {},
  flags: {},
  document: z.strictObject({
    instances: z.array(
      z.strictObject({
        directory: z.string(),
        purpose: z.enum(["look", "drill"]),
        target: z.string(),
        lsn: z.string().nullable(),
        last_commit_at: z.string().nullable(),
        running: z.boolean(),
        made_at: z.iso.datetime(),
        expires_at: z.iso.datetime(),
      }),
    ),
  }),
  async run(_, context) {
    const { paths } = await openStack(context);
    const notes = await scratchNotes(paths);
    return {
      instances: await Promise.all(
        notes.map(async ({ directory, purpose, target, reached, made_at, expires_at }) => ({
          directory,
          purpose,
          target,
          lsn: reached?.lsn ?? null,
          last_commit_at: reached?.last_commit_at ?? null,
          running: (await serverPid(instanceDirectories(directory).data)) !== undefined,
          made_at,
          expires_at,
        })),
      ),
    };
  },
  render({ instances }, paint) {
    if (instances.length === 0) {
      return "there is no scratch instance\n\nnext: ctm restore --to TARGET --into DIR";
    }
    const rows = instances.map(({ directory, target, last_commit_at, running, expires_at }) => [
      directory,
      target,
      last_commit_at === null ? "unknown" : timeText(last_commit_at),
      running ? "runs" : paint.warning("stopped"),
      expiry(expires_at),
    ]);
    return [
      table([["FOLDER", "TARGET", "LAST COMMIT", "SERVER", "EXPIRES"], ...rows], paint),
      "",
      "connect as root or the PostgreSQL user: psql -h FOLDER -U postgres",
      "next: ctm restore remove FOLDER",
    ].join("\n");
  },
});

function expiry(at: string): string {
  const left = Date.parse(at) - Date.now();
  return left <= 0 ? "expired" : `in ${durationText(left)}`;
}
