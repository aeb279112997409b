import type { Client } from "pg";
import { z } from "zod";
import { CtmError } from "#system";

/** A key as every `ctm key` document has it: nothing that could be used to log in. */
export const keyDocument = z.strictObject({
  id: z.string(),
  name: z.string(),
  user: z.string(),
  /** First 20 characters of the key. */
  prefix: z.string(),
  state: z.enum(["active", "revoked", "expired"]),
  permissions: z.array(z.string()),
  rate_limit_hour: z.int().nullable(),
  rate_limit_day: z.int().nullable(),
  allowed_ips: z.array(z.string()),
  allowed_endpoints: z.array(z.string()),
  created_at: z.iso.datetime().nullable(),
  expires_at: z.iso.datetime().nullable(),
  last_used_at: z.iso.datetime().nullable(),
});

export type KeyRow = z.infer<typeof keyDocument>;

interface Row {
  id: string;
  name: string;
  user: string;
  prefix: string;
  state: KeyRow["state"];
  permissions: string[];
  per_hour: number | null;
  per_day: number | null;
  ips: string[];
  endpoints: string[];
  created_at: Date | null;
  expires_at: Date | null;
  last_used_at: Date | null;
}

/** The keys, or the one that `reference` (id or prefix) means; newest first. */
export async function readKeys(client: Client, reference?: string): Promise<KeyRow[]> {
  const { rows } = await client.query<Row>(
    `SELECT id::text, key_name AS name, user_id AS "user", key_prefix AS prefix,
            CASE WHEN NOT coalesce(is_active, false) THEN 'revoked'
                 WHEN expires_at <= now() THEN 'expired' ELSE 'active' END AS state,
            permissions, rate_limit_per_hour AS per_hour, rate_limit_per_day AS per_day,
            coalesce(allowed_ips, '[]') AS ips, coalesce(allowed_endpoints, '[]') AS endpoints,
            created_at, expires_at, last_used_at
       FROM public.api_keys
      WHERE $1::text IS NULL OR id::text = $1 OR key_prefix = $1
      ORDER BY created_at DESC, id`,
    [reference ?? null],
  );
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    user: row.user,
    prefix: row.prefix,
    state: row.state,
    permissions: row.permissions.map(String),
    rate_limit_hour: row.per_hour,
    rate_limit_day: row.per_day,
    allowed_ips: row.ips.map(String),
    allowed_endpoints: row.endpoints.map(String),
    created_at: row.created_at?.toISOString() ?? null,
    expires_at: row.expires_at?.toISOString() ?? null,
    last_used_at: row.last_used_at?.toISOString() ?? null,
  }));
}

/** The one key that a reference means. @throws CtmError `no-such-key` */
export async function findKey(client: Client, reference: string): Promise<KeyRow> {
  const [key] = await readKeys(client, reference);
  if (key !== undefined) return key;
  throw new CtmError("no-such-key", `there is no API key ${reference}`, {
    next: "ctm key list",
    exitCode: 2,
  });
}

/** Makes a key; it is returned here and kept nowhere. */
export async function generateKey(
  client: Client,
  key: { name: string; user: string; permissions: readonly string[]; perHour: number | null },
): Promise<{ id: string; key: string }> {
  const { rows } = await client.query<{ id: string; key: string }>(
    "SELECT id::text, key FROM public.generate_api_key($1, $2, $3::jsonb, $4)",
    [key.name, key.user, JSON.stringify(key.permissions), key.perHour],
  );
  const [row] = rows;
  if (row === undefined) throw new Error("generate_api_key returned nothing");
  return row;
}
