import { z } from "zod";
import { CtmError, readFileIfExists } from "#system";
import { defineCommand } from "../command.ts";
import { anyText, optional, required } from "../parameters.ts";
import { isSealed, parseEscrow, unseal, type Escrow } from "../recovery/escrow.ts";
import { planRebuild, rebuild } from "../recovery/rebuild.ts";
import { bytesText, countText, durationText } from "../text.ts";

const machineDocument = z.strictObject({
  stack: z.string(),
  backup: z.string(),
  repository_bytes: z.int(),
  /** How far replay came, and how that is known. */
  reached: z.strictObject({
    by: z.enum(["target", "archive-end"]),
    evidence: z.string(),
    lsn: z.string(),
    last_commit_at: z.string().nullable(),
    timeline: z.int(),
    segments: z.int(),
  }),
  took_ms: z.int(),
});

export const command = defineCommand({
  help: "Makes a lost stack anew on a blank machine, from nothing but its far copy, its escrow (ctm backup passphrase --output) and a clone: fetches the repository, restores the newest backup and replays all WAL there is. Then npm run up starts it and repairs the rest. Refused where a stack of that name exists.",
  examples: [
    { run: "ctm restore machine escrow.txt", does: "the stack as its far copy has it" },
    {
      run: "ctm restore machine escrow.txt --passphrase-file secret.txt",
      does: "from an encrypted escrow",
    },
  ],
  arguments: { escrow: required("ESCROW", "the file that ctm backup passphrase wrote", anyText) },
  flags: { passphraseFile: optional("FILE", "file with the escrow's passphrase", anyText) },
  destructive: true,
  document: machineDocument,
  async run({ escrow: path, passphraseFile }, context) {
    const begun = Date.now();
    const plan = await planRebuild(await openEscrow(path, passphraseFile), context);
    const { escrow, descriptor, paths } = plan;
    await context.confirm(
      [
        `The stack "${escrow.stack}" of ${escrow.made_at} will be made in ${paths.state}:`,
        `  its repository, copied from ${escrow.far?.place}`,
        `  the data of ${countText(descriptor.postgres.members.length, "member")}, from the newest backup and all WAL that is there`,
        "What was written after the newest WAL of the far copy is lost.",
        "The old machine must not come back: two stacks would write to one far copy.",
      ].join("\n"),
    );
    const { backup, reached, repositoryBytes } = await rebuild(plan, context);
    return {
      stack: escrow.stack,
      backup,
      repository_bytes: repositoryBytes,
      reached: {
        by: reached.by,
        evidence: reached.evidence,
        lsn: reached.lsn,
        last_commit_at: reached.lastCommitAt,
        timeline: reached.timeline,
        segments: reached.segments,
      },
      took_ms: Date.now() - begun,
    };
  },
  render: ({ stack, backup, repository_bytes, reached, took_ms }) =>
    [
      `the data of ${stack} is here: ${backup} and ${countText(reached.segments, "segment")} of WAL, from ${bytesText(repository_bytes)} of backups, in ${durationText(took_ms)}`,
      `reached ${reached.lsn}, last commit ${reached.last_commit_at ?? "unknown"} (${reached.evidence})`,
      "",
      "next: npm run up",
    ].join("\n"),
});

/** @throws CtmError `escrow-unreadable`, `wrong-passphrase`, `passphrase-needed` (all exit 2) */
async function openEscrow(path: string, passphraseFile: string | undefined): Promise<Escrow> {
  const content = await readFileIfExists(path);
  if (content === undefined) {
    throw new CtmError("escrow-unreadable", `${path} does not exist`, { exitCode: 2 });
  }
  if (!isSealed(content)) return parseEscrow(content, path);
  if (passphraseFile === undefined) {
    throw new CtmError("passphrase-needed", `${path} is encrypted`, {
      next: "give its passphrase with --passphrase-file FILE",
      exitCode: 2,
    });
  }
  const passphrase = (await readFileIfExists(passphraseFile))?.replace(/\r?\n$/, "");
  if (passphrase === undefined) {
    throw new CtmError("passphrase-needed", `${passphraseFile} does not exist`, { exitCode: 2 });
  }
  return parseEscrow(unseal(content, passphrase), path);
}
