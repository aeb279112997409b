import type { FileResult, RunResult } from "../results.ts";
import { type ReportLine, explainFile, formatCounts, formatDuration } from "./format.ts";
import { paintLines } from "./paint.ts";
import type { Reporter } from "./reporter.ts";

export interface SpecOptions {
  write: (text: string) => void;
  colour: boolean;
  /** How many of the slowest files to list in the end. */
  slowest: number;
}

/** The report for people: a line for each file as it ends, and why it is red right below it. */
export function specReporter(options: SpecOptions): Reporter {
  const writeLines = (lines: readonly ReportLine[]): void =>
    options.write(paintLines(lines, options.colour));
  return {
    onFileEnd: (result) => writeLines(fileLines(result)),
    onEnd: (result) => writeLines(summaryLines(result, options.slowest)),
  };
}

function fileLines(result: FileResult): ReportLine[] {
  const { path, status, counts, durationMs, reason } = result;
  switch (status) {
    case "passed": {
      const text = `✓ ${path}  ${formatCounts(counts)}  ${formatDuration(durationMs)}`;
      const lines: ReportLine[] = [{ text, tone: "good" }];
      for (const { number, description, directive } of result.unexpectedlyPassed) {
        const note = `  passed, though it is marked TODO ${directive?.reason ?? ""}`;
        lines.push({ text: `${note}: ${number} - ${description}`, tone: "warning" });
      }
      return result.output.length === 0 ? lines : [...lines, ...explainFile(result)];
    }
    case "skipped":
      return [{ text: `- ${path}  skipped: ${reason ?? ""}`, tone: "faint" }];
    case "not-run":
      return [
        { text: `? ${path}  did not run: ${reason ?? ""}`, tone: "warning" },
        ...explainFile(result),
      ];
    case "failed": {
      const text = `✗ ${path}  ${formatCounts(counts)}  ${formatDuration(durationMs)}`;
      return [{ text, tone: "bad" }, ...explainFile(result)];
    }
  }
}

function summaryLines(result: RunResult, slowest: number): ReportLine[] {
  const lines: ReportLine[] = [];
  const slow = result.files.toSorted((a, b) => b.durationMs - a.durationMs).slice(0, slowest);
  if (slow.length > 0) {
    lines.push({ text: "slowest files:", tone: "faint" });
    for (const { path, durationMs } of slow) {
      lines.push({ text: `  ${formatDuration(durationMs).padStart(8)}  ${path}`, tone: "faint" });
    }
  }
  const named = (status: FileResult["status"]): FileResult[] =>
    result.files.filter((file) => file.status === status);
  const failed = named("failed");
  const notRun = named("not-run");
  // In a long report the red files are far above: name them where people look.
  if (failed.length > 0 && result.files.length > 1) {
    lines.push({ text: "failed files:", tone: "bad" });
    for (const { path } of failed) lines.push({ text: `  ${path}`, tone: "bad" });
  }
  for (const text of result.warnings) lines.push({ text: `warning: ${text}`, tone: "warning" });
  for (const text of result.problems) lines.push({ text, tone: "bad" });
  if (result.interrupted !== undefined) {
    const text = `stopped: ${result.interrupted}; ${notRun.length} of ${result.files.length} files did not run`;
    lines.push({ text, tone: "bad" });
  }
  const files = `${result.files.length} ${result.files.length === 1 ? "file" : "files"}`;
  const red = failed.length === 0 ? "" : `, ${failed.length} failed`;
  const missing = notRun.length === 0 ? "" : `, ${notRun.length} not run`;
  const skipped = named("skipped").length;
  const omitted = skipped === 0 ? "" : `, ${skipped} skipped`;
  const time = `${formatDuration(result.durationMs)}, ${result.workers} ${result.workers === 1 ? "worker" : "workers"}`;
  lines.push({
    text: `${result.passed ? "passed" : "FAILED"}: ${files}${red}${missing}${omitted}; tests: ${formatCounts(result.counts)} (${time})`,
    tone: result.passed ? "good" : "bad",
  });
  return lines;
}
