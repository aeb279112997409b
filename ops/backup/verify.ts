import { z } from "zod";
import { defineCommand } from "../command.ts";
import { windowStart } from "../facts/window.ts";
import { openStack } from "../open-stack.ts";
import { table } from "../paint.ts";
import { readArchive } from "../recovery/archive.ts";
import { auditArchive, type Gap } from "../recovery/gaps.ts";
import { verifyRepository, type Damage } from "../recovery/verify.ts";
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
  help: "Reads every file of every kept backup and all archived WAL, in every repository, and compares them with the checksums that were stored with them. Takes as long as reading all of it: run it when the disks are quiet. Names WAL that is missing too, as ctm backup audit does in a moment. Exits 3 when anything is damaged or missing.",
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
      const read = await verifyRepository(descriptor, repository, context);
      const listing = await readArchive(descriptor, context, repository);
      const window = { from: windowStart(descriptor, new Date()), archivedTo: null };
      const gaps = auditArchive(listing, listing.backups, window);
      found.push({ ...read, damages: [...read.damages, ...gaps.map((gap) => damageOf(gap))] });
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

/** pgBackRest's verify passes over what is not there at all (2.45). */
function damageOf({ repository, from, to, kind, backups }: Gap): Damage {
  const file = from === to ? from : `${from} to ${to}`;
  const what = kind === "duplicate" ? "is stored twice, with other content" : "is missing";
  return { repository, file, what, backup: backups[0] ?? null };
}
