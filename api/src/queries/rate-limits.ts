import type { Pool } from "pg";
import { runStatement } from "../transaction.ts";

export interface Window {
  seconds: number;
  /** Uses allowed in any `seconds`. */
  limit: number;
}

/** A key's uses: index of each window since 1970, uses in it and in the one before. */
export interface UseRow {
  /** The database's clock, seconds since 1970: one clock for all processes. */
  now: number;
  short_window: number;
  short_used: number;
  short_before: number;
  long_window: number;
  long_used: number;
  long_before: number;
}

interface Uses {
  scope: string;
  short: Window;
  long: Window;
}

/** Uses of this window and the one before, as they are at the time of the statement. */
const used = (name: string): string =>
  `CASE WHEN used.${name}_window >= excluded.${name}_window THEN used.${name}_used ELSE 0 END`;
const before = (name: string): string =>
  `CASE WHEN used.${name}_window >= excluded.${name}_window THEN used.${name}_before
        WHEN used.${name}_window = excluded.${name}_window - 1 THEN used.${name}_used ELSE 0 END`;
const set = (name: string): string =>
  `${name}_window = greatest(used.${name}_window, excluded.${name}_window),
   ${name}_used = ${used(name)} + 1,
   ${name}_before = ${before(name)}`;
const fits = (name: string, seconds: string, limit: string): string =>
  `${used(name)} + 1 + (${before(name)}) *
     (1 - ((SELECT now FROM clock) / ${seconds} - excluded.${name}_window)) <= ${limit}`;

const columns = `short_window::float8, short_used, short_before, long_window::float8, long_used, long_before`;

const takeText = `
WITH clock AS (SELECT extract(epoch FROM clock_timestamp())::float8 AS now)
INSERT INTO api_rate_limits AS used
  (api_key_id, scope, short_window, short_used, long_window, long_used)
SELECT $1, $2, floor(now / $3::float8), 1, floor(now / $5::float8), 1
FROM clock WHERE $4::float8 >= 1 AND $6::float8 >= 1
ON CONFLICT (api_key_id, scope) DO UPDATE SET
  ${set("short")}, ${set("long")}, updated_at = now()
WHERE ${fits("short", "$3", "$4")} AND ${fits("long", "$5", "$6")}
RETURNING (SELECT now FROM clock) AS now, ${columns}`;

/** Adds one use where both windows have room for it; undefined where they have not. */
export async function takeOne(
  pool: Pool,
  apiKeyId: string,
  { scope, short, long }: Uses,
): Promise<UseRow | undefined> {
  const rows = await runStatement<UseRow>(
    pool,
    {
      name: "take-one",
      text: takeText,
      values: [apiKeyId, scope, short.seconds, short.limit, long.seconds, long.limit],
    },
    // Counted twice at worst, when the connection breaks after the server has counted.
    { idempotent: true },
  );
  return rows[0];
}

/** A key's uses so far; no uses where it has none. */
export async function readUse(pool: Pool, apiKeyId: string, { scope }: Uses): Promise<UseRow> {
  const rows = await runStatement<UseRow>(
    pool,
    {
      name: "read-use",
      text: `SELECT extract(epoch FROM clock_timestamp())::float8 AS now, ${columns}
             FROM (VALUES (1)) AS one LEFT JOIN api_rate_limits
               ON api_key_id = $1 AND scope = $2`,
      values: [apiKeyId, scope],
    },
    { idempotent: true },
  );
  const [row] = rows;
  if (row === undefined) throw new Error("a query of one row returned none");
  return {
    now: row.now,
    short_window: row.short_window ?? 0,
    short_used: row.short_used ?? 0,
    short_before: row.short_before ?? 0,
    long_window: row.long_window ?? 0,
    long_used: row.long_used ?? 0,
    long_before: row.long_before ?? 0,
  };
}

/** Forgets uses that no window covers any more, those of deleted keys among them. */
export async function forgetOldUses(pool: Pool): Promise<void> {
  await runStatement(
    pool,
    {
      text: "DELETE FROM api_rate_limits WHERE updated_at < now() - interval '3 days'",
      values: [],
    },
    { idempotent: true },
  );
}
