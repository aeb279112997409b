import { readFile } from "node:fs/promises";
import { Client, DatabaseError, type ClientConfig } from "pg";
import { readCredential, type CredentialName } from "#stack";
import { CtmError, messageOf } from "#system";
import type { Stack } from "../open-stack.ts";

/** Roles that log in with a password of their own. */
export type LoginRole = Extract<CredentialName, `ctm_${string}`>;

/** How long a person waits for a connection before hearing that there is none. */
const connectTimeoutMs = 10_000;

/**
 * How to reach a stack's database from here: through the proxy, verify-full against its own CA.
 *
 * @param door `rw` leads to the leader, `ro` to a replica (or the leader, where there is none)
 * @throws CtmError `credential-missing`, `no-permission`
 */
export async function stackConnection(
  { descriptor, paths }: Stack,
  role: LoginRole,
  door: "rw" | "ro" = "rw",
): Promise<ClientConfig> {
  const { host, port } = descriptor.postgres[door];
  return {
    host,
    port,
    database: descriptor.postgres.database,
    user: role,
    password: await readCredential(paths, role),
    ssl: { ca: await readFile(descriptor.tls.authority, "utf8") },
  };
}

/** Runs `work` on a connection of its own and closes it, whatever happens. */
export async function connected<T>(
  config: ClientConfig,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = new Client({
    application_name: "ctm",
    connectionTimeoutMillis: connectTimeoutMs,
    ...config,
  });
  // A connection lost between two queries is reported by the next query.
  client.on("error", () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/**
 * Runs `work` in one transaction as the database's owner, on the leader.
 *
 * @throws CtmError `database-unreachable`, `schema-missing`, and whatever `work` throws
 */
export async function asOwner<T>(stack: Stack, work: (client: Client) => Promise<T>): Promise<T> {
  const { owner, rw } = stack.descriptor.postgres;
  const config = await stackConnection(stack, "ctm_migrator");
  try {
    return await connected(config, async (client) => {
      await client.query(`BEGIN; SET LOCAL ROLE ${client.escapeIdentifier(owner)}`);
      const result = await work(client);
      await client.query("COMMIT");
      return result;
    });
  } catch (error) {
    if (error instanceof CtmError) throw error;
    if (error instanceof DatabaseError) {
      // 42P01, 42883, 42703: a table, function or column that the migrations make.
      if (/^42(P01|883|703)$/.test(error.code ?? "")) {
        throw new CtmError("schema-missing", `the schema is not there yet: ${error.message}`, {
          next: "ctm migrate up",
          cause: error,
        });
      }
      // Class 08 and 57P: the connection or the server went away; 28: it was refused.
      if (!/^(08|57P|28|53)/.test(error.code ?? "")) throw error;
    }
    throw new CtmError(
      "database-unreachable",
      `${rw.host}:${rw.port} does not serve: ${messageOf(error)}`,
      { next: "ctm status", cause: error },
    );
  }
}
