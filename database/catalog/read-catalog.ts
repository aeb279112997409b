import { readFile } from "node:fs/promises";
import type { Client } from "pg";

/** One object of a schema, in a form that two databases can be compared by. */
export interface CatalogObject {
  /** "table", "column", "index", "policy", "grant" … */
  kind: string;
  /** Qualified name, unique within its kind. */
  name: string;
  /** Everything that makes it what it is, as text of one or more lines. */
  definition: string;
}

/**
 * Every object of a database that migrations own, ordered by kind and name: tables, columns,
 * constraints, indexes, views, functions, triggers, policies, grants, types, with owners and
 * comments. The order of columns and partitions with bounds are left out.
 */
export async function readCatalog(client: Client): Promise<CatalogObject[]> {
  const sql = await readFile(new URL("catalog.sql", import.meta.url), "utf8");
  await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
  try {
    await client.query("SET LOCAL search_path = pg_catalog; SET LOCAL lock_timeout = '10s'");
    const { rows } = await client.query<CatalogObject>(sql);
    return rows;
  } finally {
    await client.query("ROLLBACK").catch(() => undefined);
  }
}
