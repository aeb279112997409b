import type { Pool } from "pg";
import { runStatement } from "../transaction.ts";

/** A row of api_access_logs; everything in it has been redacted. */
export interface AccessLogEntry {
  request_id: string;
  endpoint: string;
  method: string;
  user_id: string | null;
  api_key_id: string | null;
  ip_address: string | null;
  user_agent: string | null;
  request_headers: Record<string, string>;
  request_body: unknown;
  response_status: number;
  response_headers: Record<string, string>;
  response_body: object | null;
  execution_time_ms: number;
  rate_limit_remaining: number | null;
  rate_limit_reset: string | null;
  created_at: string;
}

/** Writes a batch as one statement with one parameter. */
export async function writeAccessLog(
  pool: Pool,
  entries: readonly AccessLogEntry[],
): Promise<void> {
  await runStatement(
    pool,
    {
      name: "write-access-log",
      text: `INSERT INTO api_access_logs
               (request_id, endpoint, method, user_id, api_key_id, ip_address, user_agent,
                request_headers, request_body, response_status, response_headers, response_body,
                execution_time_ms, rate_limit_remaining, rate_limit_reset, created_at)
             SELECT request_id, endpoint, method, user_id, api_key_id, ip_address, user_agent,
                    request_headers, request_body, response_status, response_headers,
                    response_body, execution_time_ms, rate_limit_remaining, rate_limit_reset,
                    created_at
             FROM jsonb_to_recordset($1::jsonb) AS entry
               (request_id text, endpoint text, method text, user_id text, api_key_id text,
                ip_address inet, user_agent text, request_headers jsonb, request_body jsonb,
                response_status integer, response_headers jsonb, response_body jsonb,
                execution_time_ms integer, rate_limit_remaining integer,
                rate_limit_reset timestamptz, created_at timestamptz)`,
      values: [JSON.stringify(entries)],
    },
    { idempotent: false },
  );
}
