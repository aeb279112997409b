import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseConfiguration, type ApiConfiguration } from "../src/config.ts";
import { start } from "../src/start.ts";
import { startDatabase, type TestDatabase } from "./database.ts";
import { startRelay, type Relay } from "./relay.ts";

/** A whole service of its own for a test file: database, relays to it, and the API. */
export interface TestApi {
  url: string;
  adminUrl: string;
  database: TestDatabase;
  primary: Relay;
  readonly: Relay;
  configuration: ApiConfiguration;
  /** Makes a key in the database and returns it. */
  createKey(options?: KeyOptions): Promise<TestKey>;
  stop(): Promise<void>;
}

interface KeyOptions {
  user?: string;
  permissions?: readonly string[];
  perHour?: number;
  perDay?: number;
  allowedIps?: unknown;
  allowedEndpoints?: unknown;
  /** SQL interval from now. */
  expiresIn?: string;
  isActive?: boolean;
}

export interface TestKey {
  id: string;
  key: string;
}

/** What the API answered. */
export interface Answer {
  status: number;
  headers: Headers;
  body: unknown;
}

export async function startTestApi(
  change: (configuration: ApiConfiguration) => ApiConfiguration = (same) => same,
): Promise<TestApi> {
  const database = await startDatabase();
  const folder = await mkdtemp(join(tmpdir(), "ctm-api-"));
  const [primary, readonly] = await Promise.all([
    startRelay(database.socketDirectory),
    startRelay(database.socketDirectory),
  ]);
  const passwordFile = async (role: "ctm_api" | "ctm_query"): Promise<string> => {
    const path = join(folder, role);
    await writeFile(path, `${database.passwords[role]}\n`, { mode: 0o600 });
    return path;
  };
  const configuration = change({
    listen: { host: "127.0.0.1", port: 0 },
    admin: { host: "127.0.0.1", port: 0 },
    environment: "testing",
    logLevel: "silent",
    database: {
      name: "taskmaster",
      authority: null,
      primary: { host: "127.0.0.1", port: primary.port },
      readonly: { host: "127.0.0.1", port: readonly.port },
      user: "ctm_api",
      passwordFile: await passwordFile("ctm_api"),
    },
    query: { user: "ctm_query", passwordFile: await passwordFile("ctm_query") },
  });
  const api = await start(parseConfiguration(configuration, "test"));
  return {
    url: api.url,
    adminUrl: api.adminUrl,
    database,
    primary,
    readonly,
    configuration,
    createKey: (options) => createKey(database, options),
    stop: async () => {
      await api.stop();
      await Promise.all([primary.stop(), readonly.stop()]);
      await database.stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** Makes a key the way `generate_api_key` does, with every column open to the test. */
async function createKey(database: TestDatabase, options: KeyOptions = {}): Promise<TestKey> {
  const [row] = await database.sql<TestKey>(
    `WITH made AS (SELECT 'ctm_' || encode(gen_random_bytes(32), 'hex') AS key)
     INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id, permissions,
       rate_limit_per_hour, rate_limit_per_day, allowed_ips, allowed_endpoints, expires_at, is_active)
     SELECT 'test', encode(digest(key, 'sha256'), 'hex'), left(key, 20), $1, $2::jsonb, $3, $4,
       $5::jsonb, $6::jsonb, now() + $7::interval, $8
     FROM made RETURNING id, (SELECT key FROM made)`,
    [
      options.user ?? "test@company.com",
      JSON.stringify(options.permissions ?? ["read:tasks", "write:tasks", "read:metrics"]),
      options.perHour ?? 1_000_000,
      options.perDay ?? 1_000_000,
      JSON.stringify(options.allowedIps ?? []),
      JSON.stringify(options.allowedEndpoints ?? []),
      options.expiresIn ?? null,
      options.isActive ?? true,
    ],
  );
  if (row === undefined) throw new Error("no key was made");
  return row;
}

/** Calls an API and returns status, headers and the parsed body. */
export async function call(
  url: string,
  options: {
    method?: string;
    key?: string;
    body?: unknown;
    /** Sent as it is, instead of `body`. */
    text?: string;
    headers?: Record<string, string>;
  } = {},
): Promise<Answer> {
  const content =
    options.text ?? (options.body === undefined ? null : JSON.stringify(options.body));
  const response = await fetch(url, {
    method: options.method ?? (content === null ? "GET" : "POST"),
    headers: {
      ...(options.key === undefined ? {} : { "x-api-key": options.key }),
      ...(content === null ? {} : { "content-type": "application/json" }),
      ...options.headers,
    },
    body: content,
  });
  return {
    status: response.status,
    headers: response.headers,
    body: await response.json(),
  };
}
