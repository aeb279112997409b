import type { CatalogObject } from "./read-catalog.ts";

/** One difference between the schema that is expected and the one that is there. */
export interface CatalogDifference {
  kind: string;
  name: string;
  difference: "missing" | "unexpected" | "changed";
  /** Null when it is unexpected. */
  expected: string | null;
  /** Null when it is missing. */
  actual: string | null;
}

/**
 * What differs between two catalogs. What belongs to an object that is missing or unexpected as a
 * whole is not listed again: its columns, constraints, grants and so on.
 */
export function compareCatalogs(
  expected: readonly CatalogObject[],
  actual: readonly CatalogObject[],
): CatalogDifference[] {
  const wanted = new Map(expected.map((object) => [keyOf(object), object]));
  const found = new Map(actual.map((object) => [keyOf(object), object]));
  const differences: CatalogDifference[] = [];
  for (const [key, object] of wanted) {
    const other = found.get(key);
    if (other?.definition === object.definition) continue;
    differences.push({
      kind: object.kind,
      name: object.name,
      difference: other === undefined ? "missing" : "changed",
      expected: object.definition,
      actual: other?.definition ?? null,
    });
  }
  for (const [key, object] of found) {
    if (wanted.has(key)) continue;
    const { kind, name, definition } = object;
    differences.push({ kind, name, difference: "unexpected", expected: null, actual: definition });
  }
  return withoutParts(differences);
}

/** One difference in lines for people: the object, then the lines that are not on both sides. */
export function describeDifference(difference: CatalogDifference): string {
  const head = `${difference.kind} ${difference.name} ${words[difference.difference]}`;
  if (difference.difference !== "changed") return head;
  const expected = (difference.expected ?? "").split("\n");
  const actual = (difference.actual ?? "").split("\n");
  const lines = [
    ...expected
      .filter((line) => !actual.includes(line))
      .map((line) => `  expected: ${line.trim()}`),
    ...actual
      .filter((line) => !expected.includes(line))
      .map((line) => `  found:    ${line.trim()}`),
  ];
  return [head, ...lines].join("\n");
}

const words = {
  missing: "is missing",
  unexpected: "is there, and no migration makes it",
  changed: "is not what the migrations make",
} as const;

/** Kinds that have parts of their own, named `OBJECT.part`, `kind OBJECT to role`. */
const wholes = new Set([
  "schema",
  "table",
  "view",
  "materialized view",
  "foreign table",
  "sequence",
  "composite type",
  "column",
  "function",
  "procedure",
  "aggregate",
  "type",
]);

function withoutParts(differences: readonly CatalogDifference[]): CatalogDifference[] {
  const whole = differences.filter(
    ({ kind, difference }) => wholes.has(kind) && difference !== "changed",
  );
  const isPart = (part: CatalogDifference): boolean =>
    whole.some(
      (object) =>
        object !== part &&
        object.difference === part.difference &&
        (part.name.startsWith(`${object.name}.`) ||
          (part.kind === "grant" && part.name.includes(` ${object.name} to `)) ||
          (part.kind === "grant" && part.name.includes(` ${object.name}.`))),
    );
  return differences.filter((difference) => !isPart(difference));
}

function keyOf(object: CatalogObject): string {
  return `${object.kind}\n${object.name}`;
}
