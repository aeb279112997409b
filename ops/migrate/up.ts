import { userInfo } from "node:os";
import { z } from "zod";
import { describeProgress, migrateUp, repositoryRevision, type MigrationProgress } from "#database";
import { defineCommand, type Context } from "../command.ts";
import { defaulted, optional, textUpTo, wholeNumber } from "../parameters.ts";
import { targetConnection, urlFlag } from "./target.ts";

export const command = defineCommand({
  help: "Applies the pending migrations: numbered files in order, then repeatable ones that changed. One run at a time; a second one waits and then finds nothing to do. A statement that meets a lock gives way and is tried again, so others wait at most the lock timeout. Forward only: a mistake is mended by a new file.",
  examples: [
    { run: "ctm migrate up", does: "everything pending" },
    { run: "ctm migrate up --target 012", does: "up to that version" },
    {
      run: "ctm migrate up --url postgresql://ctm_migrator@db:5432/taskmaster",
      does: "on any server",
    },
  ],
  arguments: {},
  flags: {
    url: urlFlag,
    target: optional("VERSION", "the last version to apply", textUpTo(50)),
    lockTimeoutMs: defaulted(
      "MS",
      "how long to wait for a lock before giving way",
      "1000",
      wholeNumber(1, 600_000),
    ),
    deadlineSeconds: defaulted(
      "S",
      "how long to go on trying one file that meets locks, and to wait for another run",
      "600",
      wholeNumber(1, 604_800),
    ),
  },
  document: z.strictObject({
    schema_version: z.string().nullable(),
    applied: z.array(
      z.strictObject({
        version: z.string().nullable(),
        name: z.string(),
        statements: z.int(),
        attempts: z.int(),
        duration_ms: z.int(),
      }),
    ),
    adopted: z.array(z.string()),
    duration_ms: z.int(),
  }),
  async run({ url, target, lockTimeoutMs, deadlineSeconds }, context) {
    const gitRevision = await repositoryRevision();
    const result = await migrateUp(await targetConnection(url, context), {
      actor: userInfo().username,
      ...(gitRevision === undefined ? {} : { gitRevision }),
      ...(target === undefined ? {} : { target }),
      lockTimeoutMs,
      deadlineMs: deadlineSeconds * 1000,
      signal: context.signal,
      onProgress: (progress) => tell(progress, context.progress),
    });
    return {
      schema_version: result.schemaVersion,
      applied: result.applied.map((file) => ({
        version: file.version,
        name: file.name,
        statements: file.statements,
        attempts: file.attempts,
        duration_ms: file.durationMs,
      })),
      adopted: result.adopted,
      duration_ms: result.durationMs,
    };
  },
  render(document, paint) {
    const version = document.schema_version ?? "no version";
    const lines = document.applied.map(
      ({ name, duration_ms: duration, attempts }) =>
        `${paint.good("applied")} ${name} in ${duration} ms${attempts === 1 ? "" : `, attempt ${attempts}`}`,
    );
    if (document.adopted.length > 0) {
      lines.unshift(`found applied and taken over: ${document.adopted.join(", ")}`);
    }
    const done =
      document.applied.length === 0
        ? `Nothing was pending; the schema is at ${version}.`
        : `The schema is at ${version}. next: ctm migrate verify`;
    return [...lines, done].join("\n");
  },
});

/** Files are steps; what holds one up is its detail. */
function tell(progress: MigrationProgress, shown: Context["progress"]): void {
  const text = describeProgress(progress);
  if (text === undefined) return;
  if (progress.kind === "blocked" || progress.kind === "notice") shown.detail(text);
  else shown.step(text);
}
