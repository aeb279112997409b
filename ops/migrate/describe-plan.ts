import { describeFinding } from "#database";
import type { Paint } from "../paint.ts";
import { bytesText, countText } from "../text.ts";
import type { PlanDocument } from "./plan-document.ts";

type PlannedFile = PlanDocument["files"][number];
type PlannedStatement = PlannedFile["statements"][number];
type SizedRelation = PlannedStatement["scans"][number];

/** A plan as text for people: each statement with its locks, then findings, changes, the result. */
export function describePlan(plan: PlanDocument, paint: Paint): string {
  if (plan.tried_on === "nothing") {
    return `Nothing is pending; the schema is at ${plan.schema_version ?? "no version"}.`;
  }
  const sections = [
    paint.bold(
      `${countText(plan.files.length, "file")} pending after ${plan.schema_version ?? "nothing"}, tried on ${plan.tried_on === "data" ? "a copy of the database" : "empty tables"}`,
    ),
    plan.tried_on_reason === null ? "" : `The data was not copied: ${plan.tried_on_reason}.`,
    ...plan.files.map((file) => describeFile(file, paint)),
    list("Findings", plan.findings.map(describeFinding)),
    list(
      "Changes of the schema",
      plan.changes.map(({ kind, name, difference }) => `${signs[difference]} ${kind} ${name}`),
    ),
    plan.failure === null
      ? `${paint.good("Every file ran.")} next: ctm migrate up`
      : `${paint.bad("It would fail.")}\n${plan.failure.code}: ${plan.failure.message}${plan.failure.next === null ? "" : `\nnext: ${plan.failure.next}`}`,
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

/** Seen from the catalog before: what is not in it yet is unexpected there. */
const signs = { missing: "-", unexpected: "+", changed: "~" } as const;

function describeFile(file: PlannedFile, paint: Paint): string {
  const how = file.transactional ? "in one transaction" : "without a transaction";
  return [
    `${paint.bold(file.name)} (${how})`,
    ...file.statements.map((statement) => describeStatement(statement, paint)),
  ].join("\n");
}

function describeStatement(statement: PlannedStatement, paint: Paint): string {
  const lines = statement.sql.split("\n");
  const margin = String(statement.line).padStart(5);
  const shown = lines.map((line, index) => `${index === 0 ? margin : "     "}  ${line}`.trimEnd());
  const effects = [
    ...statement.locks.map(
      (lock) => `stops ${lock.blocks} of ${describeSize(lock)} while it runs (${lock.mode})`,
    ),
    ...statement.rewrites.map((table) => `writes the whole of ${describeSize(table)} anew`),
    ...statement.scans.map((table) => `reads the whole of ${describeSize(table)}`),
  ];
  return [...shown, ...effects.map((effect) => paint.warning(`       > ${effect}`))].join("\n");
}

function describeSize({ relation, rows, bytes }: SizedRelation): string {
  if (bytes === null) return relation;
  const count = rows === null ? "rows not counted yet" : `about ${rows.toLocaleString("en")} rows`;
  return `${relation} (${count}, ${bytesText(bytes)})`;
}

function list(title: string, items: readonly string[]): string {
  return items.length === 0 ? "" : [`${title}:`, ...items.map((item) => indent(item))].join("\n");
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}
