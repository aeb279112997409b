import { quoteLiteral } from "../psql/scanner.ts";
import type { Session } from "../server/session.ts";
import type { Command } from "./declaration.ts";

export type ObjectKind = "table" | "partition" | "view" | "materialised view" | "function";

/** Something of the database that an actor can try. */
export interface CatalogObject {
  kind: ObjectKind;
  schema: string;
  name: string;
  oid: string;
  /** Quoted, with its schema. */
  sql: string;
  /** What can be tried on it at all: a view may be no target of changes. */
  commands: readonly Command[];
  /** Columns that can be set. */
  columns: readonly string[];
}

/** Every table, view and function of the schemas that does not belong to an extension. */
export async function readObjects(
  session: Session,
  schemas: readonly string[],
): Promise<CatalogObject[]> {
  const list = schemas.map((schema) => quoteLiteral(schema)).join(", ");
  const rows = await session.rows(
    `SELECT 'relation', n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), c.oid::text,
       c.relkind::text, c.relispartition::text,
       pg_relation_is_updatable(c.oid, true)::text,
       (SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attgenerated = '' AND a.attidentity <> 'a')
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN (${list}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND NOT EXISTS (SELECT FROM pg_depend d
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
     ORDER BY n.nspname, c.relname;
     SELECT 'function', n.nspname, p.proname,
       format('%I.%I', n.nspname, p.proname), p.oid::text
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname IN (${list})
       AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
       AND NOT EXISTS (SELECT FROM pg_depend d
         WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
     ORDER BY n.nspname, p.proname, p.oid`,
  );
  return rows.map(([what, schema, name, sql, oid, kind, isPartition, updatable, columns]) => {
    const base = { schema: schema ?? "", name: name ?? "", sql: sql ?? "", oid: oid ?? "" };
    if (what === "function") {
      return { ...base, kind: "function", commands: ["execute"], columns: [] };
    }
    const settable = columns === null || columns === undefined ? [] : columns.split(",");
    return {
      ...base,
      kind: relationKind(kind ?? "", isPartition === "true"),
      commands: relationCommands(kind ?? "", Number(updatable), settable.length > 0),
      columns: settable,
    };
  });
}

function relationKind(relkind: string, isPartition: boolean): ObjectKind {
  if (relkind === "v") return "view";
  if (relkind === "m") return "materialised view";
  return isPartition ? "partition" : "table";
}

function relationCommands(relkind: string, updatable: number, settable: boolean): Command[] {
  if (relkind === "m") return ["select"];
  const possible: Command[] = ["select"];
  // The bits of pg_relation_is_updatable(): 1 << CMD_UPDATE (2), CMD_INSERT (3), CMD_DELETE (4).
  if ((updatable & 8) !== 0) possible.push("insert");
  if ((updatable & 4) !== 0 && settable) possible.push("update");
  if ((updatable & 16) !== 0) possible.push("delete");
  if (relkind !== "v") possible.push("truncate");
  return possible;
}
