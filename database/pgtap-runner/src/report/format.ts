import type { Assertion, Counts, FileResult, Location, Problem } from "../results.ts";
import { diffLines, readDifference } from "../tap/got-wanted.ts";

/** How a part of the text is meant; a reporter for terminals turns that into colour. */
export type Tone = "good" | "bad" | "faint" | "strong" | "plain" | "warning";

/** A line of a report for people; its indentation is part of the text. */
export interface ReportLine {
  text: string;
  tone: Tone;
}

const longestStatement = 12;

export function formatLocation(location: Location): string {
  return `${location.file}:${location.line}`;
}

export function formatDuration(milliseconds: number): string {
  return milliseconds < 1000
    ? `${Math.round(milliseconds)} ms`
    : `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
}

export function formatCounts(counts: Counts): string {
  const parts = [`${counts.passed} passed`];
  if (counts.failed > 0) parts.push(`${counts.failed} failed`);
  if (counts.skipped > 0) parts.push(`${counts.skipped} skipped`);
  if (counts.todo > 0) parts.push(`${counts.todo} todo`);
  return parts.join(", ");
}

/** Everything there is to say about why a file is red. */
export function explainFile(result: FileResult): ReportLine[] {
  const lines: ReportLine[] = [];
  for (const failure of result.failures) lines.push(...explainAssertion(failure, "  "));
  const more = result.counts.failed - result.failures.length;
  if (more > 0) lines.push({ text: `  … and ${more} more failed tests`, tone: "faint" });
  for (const problem of result.problems) lines.push(...explainProblem(problem, "  "));
  lines.push(...explainOutput(result, "  "));
  return lines;
}

/** What a file printed: rows of its queries, NOTICEs, warnings; nothing when it was not kept. */
export function explainOutput(result: FileResult, indent: string): ReportLine[] {
  if (result.output.length === 0) return [];
  const deeper = `${indent}  `;
  const lines: ReportLine[] = [{ text: `${indent}output:`, tone: "faint" }];
  if (result.outputOmitted > 0) {
    lines.push({ text: `${deeper}… ${result.outputOmitted} lines before these`, tone: "faint" });
  }
  for (const line of result.output) {
    const place = line.location === undefined ? "" : `${formatLocation(line.location)}: `;
    for (const part of line.text.split("\n")) {
      lines.push({
        text: `${deeper}${place}${part}`,
        tone: line.kind === "output" ? "plain" : "warning",
      });
    }
  }
  return lines;
}

/** A failed assertion: number and description, place, statement, and what was got and wanted. */
export function explainAssertion(assertion: Assertion, indent: string): ReportLine[] {
  const lines: ReportLine[] = [
    { text: `${indent}not ok ${assertion.number} - ${assertion.description}`, tone: "bad" },
  ];
  const deeper = `${indent}  `;
  if (assertion.location !== undefined) {
    lines.push({ text: `${deeper}at ${formatLocation(assertion.location)}`, tone: "faint" });
  }
  lines.push(...quoteStatement(assertion.sql, deeper));
  lines.push(...explainDifference(assertion, deeper));
  for (const subtest of assertion.subtests) {
    // The place is that of the call that ran them all: once is enough.
    lines.push(...explainAssertion({ ...subtest, location: undefined, sql: undefined }, deeper));
  }
  return lines;
}

/** What was got and wanted, as a diff, and what else pgTAP says. */
export function explainDifference(assertion: Assertion, indent: string): ReportLine[] {
  const { got, wanted, rest } = readDifference(assertion.diagnostics);
  const lines: ReportLine[] = rest.map((text) => ({ text: indent + text, tone: "plain" }));
  if (got.length === 0 && wanted.length === 0) return lines;
  lines.push({ text: `${indent}- wanted  + got`, tone: "faint" });
  for (const line of diffLines(wanted, got)) {
    if (line.kind === "same") lines.push({ text: `${indent}  ${line.text}`, tone: "plain" });
    else if (line.kind === "wanted") lines.push({ text: `${indent}- ${line.text}`, tone: "good" });
    else lines.push({ text: `${indent}+ ${line.text}`, tone: "bad" });
  }
  return lines;
}

/** A reason to be red that is no assertion. */
export function explainProblem(problem: Problem, indent: string): ReportLine[] {
  const deeper = `${indent}  `;
  const lines: ReportLine[] = [
    { text: `${indent}${problem.code}: ${problem.message}`, tone: "bad" },
  ];
  if (problem.location !== undefined) {
    lines.push({ text: `${deeper}at ${formatLocation(problem.location)}`, tone: "faint" });
  }
  lines.push(...quoteStatement(problem.sql, deeper));
  for (const detail of problem.detail ?? []) {
    for (const text of detail.split("\n")) lines.push({ text: deeper + text, tone: "plain" });
  }
  if (problem.next !== undefined) {
    lines.push({ text: `${deeper}next: ${problem.next}`, tone: "strong" });
  }
  return lines;
}

function quoteStatement(sql: string | undefined, indent: string): ReportLine[] {
  if (sql === undefined) return [];
  const all = sql.split("\n");
  const lines = all.slice(0, longestStatement).map((text) => `${indent}| ${text}`);
  if (all.length > longestStatement) lines.push(`${indent}| …`);
  return lines.map((text) => ({ text, tone: "plain" }));
}
