import { defineCommand } from "../command.ts";
import { openStack } from "../open-stack.ts";
import { absolutePath, anyText, optional } from "../parameters.ts";
import type { Paint } from "../paint.ts";
import { durationText, timeText } from "../text.ts";
import { runDrill } from "./run.ts";
import { drillDocument, problemsOf, type DrillDocument } from "./report.ts";

export const command = defineCommand({
  help: "Proves that the backups can be restored: audits the archive, restores the newest state and a random place of the window into scratch folders, reads and checks what is there (queries, rows against what was counted, a dump of every table, every index, smoke tests, page checksums), measures RTO and RPO, writes a report and takes everything away. The stack goes on as before; the drill takes disk space for one copy of the database and a share of the machine. Exits 3 when anything is wrong.",
  examples: [
    { run: "ctm drill", does: "from the repository near the cluster" },
    { run: "ctm drill --repository far", does: "from the copy in another region" },
    { run: "ctm drill --directory /mnt/space", does: "with the scratch folders on another disk" },
  ],
  arguments: {},
  flags: {
    repository: optional("NAME", "which repository to restore from (default near)", anyText),
    directory: optional(
      "FOLDER",
      "an existing folder to restore into (default the stack's own)",
      absolutePath,
    ),
  },
  document: drillDocument,
  async run({ repository, directory }, context) {
    const stack = await openStack(context);
    return await runDrill(stack, { repository, directory }, context);
  },
  render: (drill, paint) => text(drill, paint),
  exitCode: ({ ok }) => (ok ? 0 : 3),
});

function text(drill: DrillDocument, paint: Paint): string {
  const ms = (value: number | null): string => (value === null ? "unknown" : durationText(value));
  const lines = drill.restores.flatMap(({ target, backup, reached, failure, checks }) => [
    paint.bold(target),
    reached === null
      ? `  ${paint.bad("not reached")}: ${failure?.message ?? "it was not tried"}`
      : `  from ${backup}: ${reached.evidence}, last commit ${reached.last_commit_at === null ? "none" : timeText(reached.last_commit_at)}`,
    ...checks.map(
      ({ name, result, detail }) =>
        `  ${name.padEnd(10)} ${result === "passed" ? paint.good(result) : result === "failed" ? paint.bad(result) : paint.warning(result)}  ${detail}`,
    ),
    ...(reached !== null && failure !== null ? [`  ${paint.bad(failure.message)}`] : []),
  ]);
  const problems = problemsOf(drill);
  return [
    ...lines,
    "",
    drill.ok
      ? paint.good("the drill passed: what is in the repository can be restored")
      : paint.bad(`the drill failed: ${problems[0] ?? "see the report"}`),
    `RTO ${ms(drill.rto_ms)}, RPO ${ms(drill.rpo_ms)}; report ${drill.report}`,
    "",
    `next: ${drill.ok ? "ctm status" : "ctm backup audit, ctm backup verify"}`,
  ].join("\n");
}
