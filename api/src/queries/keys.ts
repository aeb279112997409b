import type { Pool } from "pg";
import { runStatement } from "../transaction.ts";

export interface KeyRow {
  id: string;
  key_hash: string;
  user_id: string;
  permissions: unknown;
  rate_limit_per_hour: number | null;
  rate_limit_per_day: number | null;
  allowed_ips: unknown;
  allowed_endpoints: unknown;
  expires_at: Date | null;
  is_active: boolean | null;
}

/** Keys that begin so, through the one function that row security lets see every key. */
export async function keysByPrefix(pool: Pool, prefix: string): Promise<KeyRow[]> {
  return await runStatement<KeyRow>(
    pool,
    {
      name: "keys-by-prefix",
      text: `SELECT id, key_hash, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
                    allowed_ips, allowed_endpoints, expires_at, is_active
             FROM find_api_key($1)`,
      values: [prefix],
    },
    { idempotent: true },
  );
}

export interface KeyUse {
  apiKeyId: string;
  uses: number;
  lastUsedAt: Date;
}

/** Adds uses to usage_count and moves last_used_at forward. */
export async function recordKeyUses(pool: Pool, uses: readonly KeyUse[]): Promise<void> {
  await runStatement(
    pool,
    {
      name: "record-key-uses",
      text: "SELECT record_api_key_usage($1::uuid[], $2::integer[], $3::timestamptz[])",
      values: [
        uses.map((use) => use.apiKeyId),
        uses.map((use) => use.uses),
        uses.map((use) => use.lastUsedAt),
      ],
    },
    { idempotent: false },
  );
}
