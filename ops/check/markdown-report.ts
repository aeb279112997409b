import { countText } from "../text.ts";
import type { FindingDocument, ReportDocument } from "./document.ts";
import { placeText } from "./text-report.ts";

const signs = { passed: "✅", failed: "❌", skipped: "➖" } as const;

/** The report as a comment on a pull request, or a job's summary. */
export function markdownReport(report: ReportDocument): string {
  const on = report.server === null ? "" : `, on ${report.server}`;
  const title = report.ok
    ? "Database: nothing is wrong"
    : `Database: ${countText(report.findings.length, "problem")}`;
  return [
    `### ${title}`,
    "",
    "| | Check | What | Time |",
    "| --- | --- | --- | ---: |",
    ...report.checks.map(
      ({ name, outcome, summary, duration_ms: ms }) =>
        `| ${signs[outcome]} | ${name} | ${inTable(summary)} | ${(ms / 1000).toFixed(1)} s |`,
    ),
    "",
    ...report.findings.flatMap(findingSection),
    `${(report.duration_ms / 1000).toFixed(1)} s${on}`,
    "",
  ].join("\n");
}

function findingSection(finding: FindingDocument): string[] {
  const { check, message, detail, next } = finding;
  const place = placeText(finding);
  return [
    `#### ${place === "" ? check : code(place)}`,
    "",
    `**${check}**: ${inText(message)}`,
    "",
    ...(detail === null ? [] : [fenced(detail), ""]),
    ...(next === null ? [] : [`Next: ${inText(next)}`, ""]),
  ];
}

/** A fence longer than any in the text. */
function fenced(text: string): string {
  const longest = Math.max(0, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(Math.max(3, longest + 1));
  return `${fence}text\n${text}\n${fence}`;
}

function code(text: string): string {
  return `\`${text.replaceAll("`", "'")}\``;
}

/** Names with underscores and asterisks, and SQL's angle brackets, as they are. */
function inText(text: string): string {
  return text.replaceAll(/[\\`*_<>[\]#|@]/g, String.raw`\$&`).replaceAll("\n", " ");
}

function inTable(text: string): string {
  return inText(text);
}
