import { fileURLToPath } from "node:url";
import { writeFileAtomic } from "#system";
import { roles } from "../roles.ts";
import { connect, disconnect } from "../runner/connect.ts";
import { makeFreshDatabase } from "../runner/fresh-database.ts";
import { findBinaries, startScratchServer } from "../runner/scratch-server.ts";
import { readSchema, type Schema, type SchemaRelation, type SchemaRoutine } from "./read-schema.ts";

/** Where the generated document stands. */
export const schemaDocumentPath = fileURLToPath(new URL("../../docs/schema.md", import.meta.url));

/** The schema as a document: what each table holds, who may do what with it, and how they hang together. */
export function schemaDocument(schema: Schema): string {
  const tables = schema.relations.filter(({ kind }) => kind === "table");
  const views = schema.relations.filter(({ kind }) => kind !== "table");
  return `${[
    "# Schema",
    "Generated from the catalog of a database that the migrations made: `node database/catalog/schema-document.ts`. Do not edit; a test fails when it is stale.",
    "## Tables and what they refer to",
    diagram(tables),
    "## Roles",
    rows(
      ["Role", "Logs in", "Member of", "What it is"],
      roles.map((role) => [
        role.name,
        role.login ? "yes" : "no",
        role.memberOf.join(", "),
        role.purpose,
      ]),
    ),
    `\`ctm_owner\` owns every object unless another owner is named, and may do everything with what it owns, as far as row security lets it.`,
    "## Tables",
    ...tables.map(relationSection),
    "## Views",
    ...views.map(relationSection),
    "## Functions",
    routines(schema.routines),
  ].join("\n\n")}\n`;
}

function diagram(tables: readonly SchemaRelation[]): string {
  const lines = tables.flatMap((table) =>
    table.references.map(({ table: target, columns, optional, unique }) => {
      const left = optional ? "|o" : "||";
      const right = unique ? "o|" : "o{";
      return `    ${target} ${left}--${right} ${table.name} : ${columns.join("_")}`;
    }),
  );
  const boxes = tables.map((table) => {
    const keys = table.columns.filter(
      ({ name, primaryKey }) =>
        primaryKey || table.references.some(({ columns }) => columns.includes(name)),
    );
    const shown = keys.map(
      ({ name, type, primaryKey }) =>
        `        ${type.replaceAll(/\W+/g, "_")} ${name} ${primaryKey ? "PK" : "FK"}`,
    );
    return `    ${table.name} {\n${shown.join("\n")}\n    }`;
  });
  return ["```mermaid", "erDiagram", ...lines, ...boxes, "```"].join("\n");
}

function relationSection(relation: SchemaRelation): string {
  const parts = [
    `### ${relation.name}`,
    relation.comment ?? "",
    [
      relation.kind === "materialized view" ? "Materialized." : "",
      relation.securityInvoker ? "Reads with the rights of whoever asks." : "",
      relation.partitionedBy === null ? "" : `Partitioned by ${code(relation.partitionedBy)}.`,
    ]
      .filter((sentence) => sentence !== "")
      .join(" "),
    columnTable(relation),
    list(
      "Constraints",
      relation.constraints.map(({ name, definition }) => `${code(name)}: ${code(definition)}`),
    ),
    list(
      "Indexes",
      relation.indexes.map(
        ({ name, definition, comment }) =>
          `${code(name)}: ${code(definition.replace(/^CREATE (UNIQUE )?INDEX \S+ ON (ONLY )?\S+ /, "$1"))}${comment === null ? "" : `: ${comment}`}`,
      ),
    ),
    list(
      "Triggers",
      relation.triggers.map(
        ({ name, definition, comment }) =>
          `${code(name)}: ${code(definition.replace(/^CREATE TRIGGER \S+ /, "").replace(/ ON \S+ /, " "))}${comment === null ? "" : `: ${comment}`}`,
      ),
    ),
    policies(relation),
    grants(relation),
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

function columnTable(relation: SchemaRelation): string {
  if (relation.kind !== "table") {
    return rows(
      ["Column", "Type", "What it is"],
      relation.columns.map(({ name, type, comment }) => [code(name), type, comment ?? ""]),
    );
  }
  return rows(
    ["Column", "Type", "Null", "Default", "What it is"],
    relation.columns.map((column) => [
      code(column.name),
      column.type,
      column.nullable ? "yes" : "",
      column.default === null ? "" : code(column.default),
      column.comment ?? "",
    ]),
  );
}

function policies(relation: SchemaRelation): string {
  if (relation.kind !== "table" || relation.rowSecurity === "off") return "";
  const items = relation.policies.flatMap((policy) => [
    `- ${code(policy.name)}${policy.permissive ? "" : " (restrictive)"}: ${policy.command}, for ${policy.roles.join(", ")}${policy.comment === null ? "" : `: ${policy.comment}`}`,
    ...(policy.using === null ? [] : [`  - lets rows through: ${code(policy.using)}`]),
    ...(policy.check === null ? [] : [`  - lets rows be written: ${code(policy.check)}`]),
  ]);
  const forced = relation.rowSecurity === "forced" ? ", for its owner too" : "";
  return `Row security is on${forced}:\n\n${items.join("\n")}`;
}

function grants(relation: SchemaRelation): string {
  if (relation.grants.length === 0) return "Granted to nobody.";
  return rows(
    ["Role", "May", "Of"],
    relation.grants.map(({ role, privileges, columns: names }) => [
      role,
      privileges.join(", "),
      names === null ? "all columns" : someColumns(names, relation),
    ]),
  );
}

/** The columns, or those left out when they are fewer: what is hidden is what matters. */
function someColumns(names: readonly string[], relation: SchemaRelation): string {
  const others = relation.columns.map(({ name }) => name).filter((name) => !names.includes(name));
  const listed = (shown: readonly string[]): string => shown.map((name) => code(name)).join(", ");
  return others.length < names.length ? `all but ${listed(others)}` : listed(names);
}

function routines(found: readonly SchemaRoutine[]): string {
  return rows(
    ["Function", "Returns", "Runs as", "May be called by", "What it does"],
    found.map((routine) => [
      code(routine.signature),
      routine.kind === "function" ? (routine.returns ?? "") : routine.kind,
      routine.definer ? routine.owner : "the caller",
      routine.kind === "trigger function" ? "" : routine.execute.join(", ") || "its owner",
      routine.comment ?? "",
    ]),
  );
}

/** A table in the form that the formatter leaves alone: cells padded to their column's width. */
function rows(heading: readonly string[], body: readonly (readonly string[])[]): string {
  const table = [heading, ...body].map((row) =>
    row.map((cell) =>
      cell
        .replaceAll(/\s+/g, " ")
        .trim()
        .replaceAll("|", String.raw`\|`),
    ),
  );
  const widths = heading.map((_, index) =>
    Math.max(3, ...table.map((row) => row[index]?.length ?? 0)),
  );
  const line = (cells: readonly string[], fill: string): string =>
    `| ${widths.map((width, index) => (cells[index] ?? "").padEnd(width, fill)).join(" | ")} |`;
  const [first = [], ...rest] = table;
  return [line(first, " "), line([], "-"), ...rest.map((row) => line(row, " "))].join("\n");
}

function list(title: string, items: readonly string[]): string {
  return items.length === 0 ? "" : `${title}:\n\n${items.map((item) => `- ${item}`).join("\n")}`;
}

function code(text: string): string {
  return `\`${text.replaceAll(/\s+/g, " ").trim()}\``;
}

/**
 * The document of a database that this checkout's migrations make, on PostgreSQL 15 or newer: older
 * ones know no views with the rights of whoever asks.
 */
export async function currentSchemaDocument(): Promise<string> {
  const server = await startScratchServer({ binaries: await findBinaries({ atLeast: 15 }) });
  try {
    const client = await connect(await makeFreshDatabase(server, "schema"), "ctm schema");
    try {
      return schemaDocument(await readSchema(client));
    } finally {
      await disconnect(client);
    }
  } finally {
    await server.stop();
  }
}

if (import.meta.main) {
  await writeFileAtomic(schemaDocumentPath, await currentSchemaDocument(), { mode: 0o644 });
}
