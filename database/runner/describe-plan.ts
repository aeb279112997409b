import { describeFinding } from "../lint/finding.ts";
import type { MigrationPlan, PlannedFile, PlannedStatement, SizedRelation } from "./plan.ts";

/** A plan as text for people: each statement with its locks, then findings, changes, the result. */
export function describePlan(plan: MigrationPlan): string {
  if (plan.triedOn === "nothing") {
    return `nothing is pending; the database is at ${plan.schemaVersion ?? "no version"}`;
  }
  const sections = [
    `${plan.files.length} pending after ${plan.schemaVersion ?? "nothing"}, tried on ${
      plan.triedOn === "data"
        ? "a copy of the database"
        : `empty tables, because ${plan.triedOnReason ?? "of no reason given"}`
    }`,
    ...plan.files.map(describeFile),
    list("Findings", plan.findings.map(describeFinding)),
    list(
      "Changes of the schema",
      plan.changes.map(({ kind, name, difference }) => `${signs[difference]} ${kind} ${name}`),
    ),
    plan.failure === null
      ? "Result: every file ran; ctm migrate up applies them."
      : `Result: it would fail.\n${plan.failure.text}`,
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

/** Seen from the catalog before: what is not in it yet is unexpected there. */
const signs = { missing: "-", unexpected: "+", changed: "~" } as const;

function describeFile(file: PlannedFile): string {
  const how = file.transactional ? "in one transaction" : "without a transaction";
  return [`${file.name} (${how})`, ...file.statements.map(describeStatement)].join("\n");
}

function describeStatement(statement: PlannedStatement): string {
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
  return [...shown, ...effects.map((effect) => `       > ${effect}`)].join("\n");
}

function describeSize({ relation, rows, bytes }: SizedRelation): string {
  if (bytes === null) return relation;
  const count = rows === null ? "rows not counted yet" : `about ${rows.toLocaleString("en")} rows`;
  return `${relation} (${count}, ${describeBytes(bytes)})`;
}

function describeBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit] ?? ""}`;
}

function list(title: string, items: readonly string[]): string {
  return items.length === 0 ? "" : [`${title}:`, ...items.map((item) => indent(item))].join("\n");
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}
