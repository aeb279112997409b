import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "pg";
import { CtmError } from "#system";
import { pauseMs } from "./backoff.ts";
import { BlockerWatch } from "./blockers.ts";
import { connect, describeServer, disconnect, type DatabaseConnection } from "./connect.ts";

/** The connection that a run works on, and the watch over who blocks it. */
export interface RunSession {
  client: Client;
  watch: BlockerWatch;
}

/**
 * Opens a run's session. Who holds a lock is asked as the user that logged in, who may see more of
 * other sessions than the owner of the schema.
 *
 * @throws CtmError `read-only-server`, and those of `connect`
 */
export async function openSession(
  connection: DatabaseConnection,
  lockTimeoutMs: number,
): Promise<RunSession> {
  const client = await connect(connection, "ctm migrate");
  try {
    await client.query("RESET ROLE");
    const { rows } = await client.query<{ pid: number; replica: boolean; frozen: boolean }>(
      `SELECT pg_backend_pid() AS pid, pg_is_in_recovery() AS replica,
              current_setting('transaction_read_only')::boolean AS frozen`,
    );
    const [found] = rows;
    if (found === undefined || found.replica || found.frozen) {
      throw new CtmError(
        "read-only-server",
        `${describeServer(client)} ${found?.replica === true ? "is a replica" : "accepts no writes"}`,
        { next: "name the primary; ctm status shows which one it is" },
      );
    }
    const intervalMs = Math.max(50, Math.min(500, lockTimeoutMs / 4));
    const { role: _role, ...login } = connection;
    return { client, watch: new BlockerWatch(login, found.pid, intervalMs) };
  } catch (error) {
    await disconnect(client);
    throw error;
  }
}

/** As `openSession`, again and again until the deadline, on the clock of `performance.now`. */
export async function reopenSession(
  connection: DatabaseConnection,
  lockTimeoutMs: number,
  deadline: number,
): Promise<RunSession> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await openSession(connection, lockTimeoutMs);
    } catch (error) {
      const pause = Math.min(pauseMs(attempt), 2_000);
      if (performance.now() + pause > deadline) throw error;
      await delay(pause);
    }
  }
}

export async function closeSession({ client, watch }: RunSession): Promise<void> {
  await watch.close();
  await disconnect(client);
}

/**
 * Puts every setting that could change what a file means, or that the file before left behind,
 * back to a known value, and says when to give way. A dead client's statement is ended by the
 * server within a second (from 14 on), not when it next writes to the socket.
 */
export async function prepareSession(
  client: Client,
  connection: DatabaseConnection,
  lockTimeoutMs: number,
): Promise<void> {
  const role = connection.role === undefined ? "NONE" : client.escapeIdentifier(connection.role);
  await client.query(`
    RESET SESSION AUTHORIZATION; RESET ALL; SET ROLE ${role};
    SET search_path = public;
    SET client_encoding = 'UTF8'; SET standard_conforming_strings = on;
    SET check_function_bodies = on; SET default_tablespace = ''; SET default_table_access_method = heap;
    SET DateStyle = ISO; SET IntervalStyle = postgres; SET TimeZone = 'UTC';
    SET row_security = on; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
    SET lock_timeout = ${Math.max(1, Math.round(lockTimeoutMs))};
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
    SELECT set_config(name, '1000', false) FROM pg_settings
     WHERE name = 'client_connection_check_interval'`);
}
