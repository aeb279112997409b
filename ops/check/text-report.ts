import type { Paint } from "../paint.ts";
import { table } from "../paint.ts";
import { countText } from "../text.ts";
import type { FindingDocument, ReportDocument } from "./document.ts";

/** The report for people: what was looked at, then each problem with its place and the next step. */
export function textReport(report: ReportDocument, paint: Paint): string {
  const outcomes = {
    passed: paint.good("ok"),
    failed: paint.bad("FAILED"),
    skipped: paint.warning("skipped"),
  };
  const rows = report.checks.map(({ name, outcome, summary, duration_ms: ms }) => [
    name,
    outcomes[outcome],
    secondsText(ms),
    summary,
  ]);
  const seconds = secondsText(report.duration_ms);
  const on = report.server === null ? "" : `, on ${report.server}`;
  const problems = countText(report.findings.length, "problem");
  return [
    table([["CHECK", "", "TIME", "WHAT"], ...rows], paint),
    "",
    ...report.findings.flatMap((finding) => [findingText(finding, paint), ""]),
    report.ok
      ? `${paint.good("Nothing is wrong")} (${seconds}${on}).`
      : `${paint.bad(problems)} (${seconds}${on}).`,
  ].join("\n");
}

/** `database/migrations/042_x.sql:3`, as editors and terminals make links of; empty without a file. */
export function placeText({ file, line }: FindingDocument): string {
  return file === null ? "" : `${file}${line === null ? "" : `:${line}`}`;
}

function findingText(finding: FindingDocument, paint: Paint): string {
  const { check, message, detail, next } = finding;
  const place = placeText(finding);
  return [
    `${paint.bold(place === "" ? check : `${place}: ${check}`)}: ${message}`,
    ...(detail === null ? [] : detail.split("\n").map((line) => `  ${line}`.trimEnd())),
    ...(next === null ? [] : [`  ${paint.dim("next:")} ${next}`]),
  ].join("\n");
}

function secondsText(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
