// oxlint-disable vitest/no-standalone-expect -- the rows of this table run inside tests
import { readFile } from "node:fs/promises";
import { expect } from "vitest";
import { migrationFiles } from "#database";
import { startTlsServer, type TlsServer } from "../../postgres/testing/tls-server.ts";
import { closedFunctions } from "../types/closed-functions.ts";
import { dropMarkers } from "../types/drop-markers.ts";
import { functionGrants } from "../types/function-grants.ts";
import { login } from "../types/login.ts";
import { migrations } from "../types/migrations.ts";
import { roleSettings } from "../types/role-settings.ts";
import { scramVerifier } from "../types/secret.ts";
import { defineCase, type RegisteredCase } from "./resource-case.ts";

/* All cases share one server; each has roles and databases of its own. */

let started: Promise<TlsServer> | undefined;

export async function sharedServer(): Promise<TlsServer> {
  started ??= startTlsServer();
  return await started;
}

export async function stopSharedServer(): Promise<void> {
  await (await started)?.stop();
  started = undefined;
}

const setUp =
  (...statements: string[]) =>
  async (): Promise<TlsServer> => {
    const server = await sharedServer();
    for (const statement of statements) await server.query(statement);
    return server;
  };

const sql =
  (statement: string, database?: string) =>
  async (server: TlsServer): Promise<void> => {
    await server.query(statement, database);
  };

async function valueOf(server: TlsServer, expression: string, database?: string): Promise<unknown> {
  const { rows } = await server.query(`SELECT ${expression} AS value`, database);
  return rows[0]?.["value"];
}

const elsewhere = {
  host: "10.0.0.1",
  port: 5432,
  authority: "/elsewhere/ca.crt",
  certificate: "/elsewhere/x.crt",
  key: "/elsewhere/x.key",
};

const password = "a-long-generated-password";

const loginCase = defineCase<TlsServer>({
  type: login,
  setUp: setUp("CREATE ROLE proven LOGIN REPLICATION"),
  inputs: (server) => ({
    role: "proven",
    database: "postgres",
    password,
    verifier: scramVerifier(password),
    provisioning: server.provisioning,
    replication: true,
    login: "works",
  }),
  drift: [
    {
      how: "its password was changed",
      change: sql("ALTER ROLE proven PASSWORD 'changed by hand'"),
      shows: ["login"],
    },
    {
      how: "its password was removed",
      change: sql("ALTER ROLE proven PASSWORD NULL"),
      shows: ["login"],
    },
    { how: "it may not log in", change: sql("ALTER ROLE proven NOLOGIN"), shows: ["login"] },
    {
      how: "it may not replicate",
      change: sql("ALTER ROLE proven NOREPLICATION"),
      shows: ["replication"],
      repaired: async (server) => {
        const may = "(SELECT rolreplication FROM pg_roles WHERE rolname = 'proven')";
        expect(await valueOf(server, may)).toBe(true);
      },
    },
  ],
  identity: { role: "another" },
  instructions: { password: "another password" },
  silent: { provisioning: elsewhere, database: "another", verifier: scramVerifier("another") },
  halfDone: [
    {
      left: "a role whose password a killed run did not set yet",
      arrange: sql("ALTER ROLE proven PASSWORD NULL"),
    },
  ],
  afterDelete: async (server) => {
    // It is the role's own resource that drops the role.
    expect(await valueOf(server, "to_regrole('proven')::text")).toBe("proven");
  },
});

const settingsOfRole = "(SELECT rolconfig FROM pg_roles WHERE rolname = 'set')";

const roleSettingsCase = defineCase<TlsServer>({
  type: roleSettings,
  setUp: setUp(
    "CREATE ROLE set",
    // Of the role's own resource: none of this one's business.
    "ALTER ROLE set SET search_path = public",
  ),
  inputs: (server) => ({
    role: "set",
    settings: { lock_timeout: "5s", default_transaction_read_only: "on" },
    provisioning: server.provisioning,
  }),
  drift: [
    {
      how: "a setting was changed",
      change: sql("ALTER ROLE set SET lock_timeout = '1s'"),
      shows: ["settings.lock_timeout"],
    },
    {
      how: "a setting was reset",
      change: sql("ALTER ROLE set RESET default_transaction_read_only"),
      shows: ["settings.default_transaction_read_only"],
    },
    {
      how: "a setting was added",
      change: sql("ALTER ROLE set SET work_mem = '1GB'"),
      shows: ["settings.work_mem"],
      repaired: async (server) => {
        expect(await valueOf(server, settingsOfRole)).toEqual(
          expect.not.arrayContaining([expect.stringContaining("work_mem")]),
        );
      },
    },
    {
      how: "everything was reset",
      change: sql("ALTER ROLE set RESET ALL"),
      shows: ["settings.lock_timeout", "settings.default_transaction_read_only"],
    },
  ],
  identity: { role: "another" },
  instructions: {},
  silent: { provisioning: elsewhere },
  halfDone: [
    {
      left: "half of the settings",
      arrange: sql("ALTER ROLE set RESET lock_timeout"),
    },
  ],
  afterDelete: async (server) => {
    expect(await valueOf(server, settingsOfRole)).toContain("lock_timeout=5s");
  },
});

const granted = (database: string) => (server: TlsServer) =>
  valueOf(server, "has_function_privilege('granted', 'pg_switch_wal()', 'EXECUTE')", database);

const functionGrantsCase = defineCase<TlsServer>({
  type: functionGrants,
  setUp: setUp("CREATE ROLE granted", "CREATE DATABASE granted"),
  inputs: (server) => ({
    role: "granted",
    functions: ["pg_create_restore_point(text)", "pg_switch_wal()"],
    databases: ["postgres", "granted"],
    provisioning: server.provisioning,
  }),
  drift: [
    {
      how: "a function was revoked",
      change: sql("REVOKE EXECUTE ON FUNCTION pg_switch_wal() FROM granted"),
      shows: ["functions[1]"],
      repaired: async (server) => expect(await granted("postgres")(server)).toBe(true),
    },
    {
      how: "a function was revoked in one of the databases",
      change: sql("REVOKE EXECUTE ON FUNCTION pg_switch_wal() FROM granted", "granted"),
      shows: ["functions[1]"],
      repaired: async (server) => expect(await granted("granted")(server)).toBe(true),
    },
  ],
  identity: { role: "another" },
  instructions: { databases: ["postgres"] },
  silent: { provisioning: elsewhere },
  halfDone: [
    {
      left: "grants in one of the databases",
      arrange: sql("REVOKE EXECUTE ON FUNCTION pg_switch_wal() FROM granted", "granted"),
    },
  ],
  afterDelete: async (server) => {
    expect(await granted("postgres")(server)).toBe(true);
  },
});

const mayEmit = (role: string): string =>
  `(SELECT bool_or(has_function_privilege('${role}', oid, 'EXECUTE')) FROM pg_proc
    WHERE proname = 'pg_logical_emit_message')`;

const closedFunctionsCase = defineCase<TlsServer>({
  type: closedFunctions,
  setUp: setUp("CREATE DATABASE guarded", "CREATE ROLE keeping", "CREATE ROLE locked_out"),
  inputs: (server) => ({
    database: "guarded",
    functions: ["pg_advisory_lock", "pg_logical_emit_message"],
    role: "keeping",
    provisioning: server.provisioning,
  }),
  drift: [
    {
      how: "one form was opened to everybody",
      change: sql(
        "GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, bytea) TO PUBLIC",
        "guarded",
      ),
      shows: ["functions[1]"],
      repaired: async (server) => {
        expect(await valueOf(server, mayEmit("locked_out"), "guarded")).toBe(false);
        expect(await valueOf(server, mayEmit("keeping"), "guarded")).toBe(true);
      },
    },
    {
      how: "it was taken from the one role",
      change: sql(
        "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM keeping",
        "guarded",
      ),
      shows: ["functions[1]"],
    },
  ],
  identity: { database: "another", role: "another" },
  instructions: {},
  silent: { provisioning: elsewhere },
  halfDone: [
    {
      left: "a role that has it and everybody else too",
      arrange: sql("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO keeping", "guarded"),
    },
  ],
  afterDelete: async (server) => {
    expect(await valueOf(server, mayEmit("locked_out"), "guarded")).toBe(false);
  },
});

const dropMarkersCase = defineCase<TlsServer>({
  type: dropMarkers,
  setUp: setUp("CREATE DATABASE marked"),
  inputs: (server) => ({
    database: "marked",
    marks: "every drop",
    provisioning: server.provisioning,
  }),
  drift: [
    {
      how: "the event trigger was dropped",
      change: sql("DROP EVENT TRIGGER ctm_mark_drops", "marked"),
      shows: ["marks"],
    },
    {
      how: "the event trigger was disabled",
      change: sql("ALTER EVENT TRIGGER ctm_mark_drops DISABLE", "marked"),
      shows: ["marks"],
    },
    {
      how: "the function does something else",
      change: sql(
        `CREATE OR REPLACE FUNCTION ctm_recovery.mark_drops() RETURNS event_trigger LANGUAGE plpgsql
           SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN END'`,
        "marked",
      ),
      shows: ["marks"],
    },
    {
      how: "the function acts as its caller",
      change: sql("ALTER FUNCTION ctm_recovery.mark_drops() SECURITY INVOKER", "marked"),
      shows: ["marks"],
      repaired: async (server) => {
        // A drop by a role that may not write marks itself, in a session without other triggers.
        await server.query(
          "REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM PUBLIC",
          "marked",
        );
        await server.query(
          "CREATE ROLE dropping; GRANT CREATE ON SCHEMA public TO dropping",
          "marked",
        );
        await server.query(
          "SET ROLE dropping; CREATE TABLE gone (); DROP TABLE gone; RESET ROLE",
          "marked",
        );
      },
    },
  ],
  identity: { database: "another" },
  instructions: {},
  silent: { provisioning: elsewhere },
  halfDone: [
    { left: "its schema", arrange: sql("CREATE SCHEMA IF NOT EXISTS ctm_recovery", "marked") },
  ],
  afterDelete: async (server) => {
    const found = "(SELECT count(*)::int FROM pg_event_trigger)";
    expect(await valueOf(server, found, "marked")).toBe(1);
  },
});

export interface MigratedServer extends TlsServer {
  database: string;
  /** SHA-256 of each migration by its name. */
  files: Record<string, string>;
  /** The migrator's password as the server keeps it. */
  verifier: string;
}

/** A database as provisioning leaves it for the migrations. */
export async function migratableDatabase(database: string): Promise<MigratedServer> {
  const server = await setUp(`CREATE DATABASE ${database}`)();
  const roles = new URL("../../../database/roles.sql", import.meta.url);
  await server.query(await readFile(roles, "utf8"), database);
  const verifier = scramVerifier(password);
  await server.query(`ALTER ROLE ctm_migrator PASSWORD '${verifier}'`);
  const files = (await migrationFiles()).map(({ name, sha256 }) => [name, sha256]);
  return { ...server, database, verifier, files: Object.fromEntries(files) };
}

export const migrationsInputs = ({ provisioning, database, files }: MigratedServer) => ({
  provisioning,
  database,
  user: "ctm_migrator",
  password,
  files,
});

const tables = `(SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public')`;

const migrationsCase = defineCase<MigratedServer>({
  type: migrations,
  setUp: () => migratableDatabase("taskmaster"),
  inputs: migrationsInputs,
  names: ({ files }) => ({
    views: named(files, "21_views"),
    comments: named(files, "60_comments"),
  }),
  drift: [
    {
      how: "a repeatable file was applied in another version",
      change: sql(
        "UPDATE schema_repeatables SET checksum = 'other' WHERE name LIKE '21_views%'",
        "taskmaster",
      ),
      shows: ['files["{views}"]'],
    },
    {
      how: "its ledger forgot a repeatable file",
      change: sql("DELETE FROM schema_repeatables WHERE name LIKE '60_comments%'", "taskmaster"),
      shows: ['files["{comments}"]'],
    },
  ],
  identity: { database: "another" },
  instructions: {},
  silent: { provisioning: elsewhere, user: "another", password: "another" },
  halfDone: [
    {
      left: "some of the migrations",
      arrange: sql("DELETE FROM schema_repeatables WHERE name > '40'", "taskmaster"),
    },
  ],
  afterDelete: async (server) => {
    expect(await valueOf(server, tables, "taskmaster")).toBeGreaterThan(10);
  },
});

function named(files: Record<string, string>, prefix: string): string {
  return Object.keys(files).find((name) => name.startsWith(prefix)) ?? "";
}

/** What needs a server and no more. */
export const sqlCases: readonly RegisteredCase[] = [
  loginCase,
  roleSettingsCase,
  functionGrantsCase,
  closedFunctionsCase,
  dropMarkersCase,
  migrationsCase,
];
