import type { Client } from "pg";
import { CtmError } from "#system";
import { readTokens } from "./lexer.ts";

/** The index that a CREATE INDEX CONCURRENTLY names, and its table as written. */
export interface ConcurrentIndex {
  index: string;
  /** Possibly qualified and quoted: text for to_regclass. */
  table: string;
}

/** What a statement builds concurrently; undefined when it is another kind of statement. */
export function concurrentIndexOf(statement: string): ConcurrentIndex | undefined {
  const tokens = [...readTokens(statement)]
    .filter((token) => token.kind !== "comment")
    .map((token) => statement.slice(token.start, token.end));
  let at = 0;
  const take = (...words: string[]): boolean => {
    const found = words.every((word, index) => tokens[at + index]?.toUpperCase() === word);
    if (found) at += words.length;
    return found;
  };
  if (!take("CREATE")) return undefined;
  take("UNIQUE");
  if (!take("INDEX", "CONCURRENTLY")) return undefined;
  take("IF", "NOT", "EXISTS");
  const name = tokens[at];
  // Without a name the server chooses one, and nothing can be said about it beforehand.
  if (name === undefined || name.toUpperCase() === "ON") return undefined;
  at += 1;
  if (!take("ON")) return undefined;
  take("ONLY");
  let table = tokens[at] ?? "";
  while (tokens[at + 1] === ".") {
    table += `.${tokens[at + 2] ?? ""}`;
    at += 2;
  }
  return { index: identifierValue(name), table };
}

/**
 * Drops the index if an interrupted or failed build left it invalid: it serves no query, costs
 * every write, and a unique one goes on refusing rows.
 *
 * @returns whether there was one
 */
export async function dropInvalidIndex(
  client: Client,
  { index, table }: ConcurrentIndex,
): Promise<boolean> {
  const found = await findIndex(client, index, table);
  if (found === undefined || found.valid) return false;
  await client.query(`DROP INDEX CONCURRENTLY IF EXISTS ${found.name}`);
  return true;
}

/**
 * Checks that the index is there, valid and on its table: with IF NOT EXISTS the server is content
 * with any relation of that name.
 *
 * @throws CtmError `index-not-built`
 */
export async function checkIndexBuilt(
  client: Client,
  { index, table }: ConcurrentIndex,
): Promise<void> {
  const found = await findIndex(client, index, table);
  if (found?.valid === true && found.onTable) return;
  throw new CtmError(
    "index-not-built",
    found === undefined
      ? `there is no index ${index} although the server reported no error`
      : found.onTable
        ? `the index ${index} is not valid`
        : `something else is called ${index} already, so IF NOT EXISTS built nothing on ${table}`,
    { next: `look at it with ctm psql -- -c '\\d ${index}', remove it, then ctm migrate up` },
  );
}

async function findIndex(
  client: Client,
  index: string,
  table: string,
): Promise<{ name: string; valid: boolean; onTable: boolean } | undefined> {
  const { rows } = await client.query<{ name: string; valid: boolean; on_table: boolean }>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name,
            coalesce(i.indisvalid AND i.indisready, true) AS valid,
            coalesce(i.indrelid = t.oid, false) AS on_table
       FROM pg_class t
       JOIN pg_class c ON c.relnamespace = t.relnamespace AND c.relname = $1
       JOIN pg_namespace n ON n.oid = c.relnamespace
       LEFT JOIN pg_index i ON i.indexrelid = c.oid
      WHERE t.oid = to_regclass($2)`,
    [index, table],
  );
  const [row] = rows;
  return row === undefined
    ? undefined
    : { name: row.name, valid: row.valid, onTable: row.on_table };
}

function identifierValue(token: string): string {
  return token.startsWith('"') ? token.slice(1, -1).replaceAll('""', '"') : token.toLowerCase();
}
