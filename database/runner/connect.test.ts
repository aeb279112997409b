import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CtmError } from "#system";
import { connect, disconnect } from "./connect.ts";
import { migrationStatus } from "./migration-status.ts";
import { startScratchServer, type ScratchServer } from "./scratch-server.ts";

let server: ScratchServer;
beforeAll(async () => {
  server = await startScratchServer();
});
afterAll(async () => server.stop());

async function refusal(connection: Parameters<typeof connect>[0]): Promise<string> {
  try {
    await disconnect(await connect(connection, "test"));
  } catch (error) {
    if (error instanceof CtmError) return error.text;
    throw error;
  }
  throw new Error("the connection was expected to fail");
}

describe("connect", () => {
  const place = (database: string, user: string): string =>
    `${server.connection.host}/.s.PGSQL.5432 (database ${database}, user ${user})`;

  it("says that the password is wrong, and does not say the password", async () => {
    expect(await refusal({ ...server.connection, password: "guess" })).toBe(
      `login-refused: ${place("postgres", "postgres")}: password authentication failed for user "postgres"\nnext: check user and password`,
    );
  });

  it("says that a password is missing", async () => {
    const { password: _password, ...connection } = server.connection;
    expect(await refusal(connection)).toBe(
      `login-refused: ${place("postgres", "postgres")}: a password is needed and none was given\nnext: give it in the URL, in PGPASSWORD or in ~/.pgpass`,
    );
  });

  it("says that there is no such database", async () => {
    expect(await refusal(server.database("nowhere"))).toBe(
      `no-such-database: ${place("nowhere", "postgres")}: database "nowhere" does not exist\nnext: create the database, or name another one`,
    );
  });

  it("says that a role is missing, or may not be taken", async () => {
    expect(await refusal({ ...server.connection, role: "ctm_owner" })).toBe(
      `role-missing: the role ctm_owner does not exist on ${place("postgres", "postgres")}\nnext: apply database/roles.sql as a superuser, then run this again`,
    );
    const admin = await connect(server.connection, "test");
    await admin.query("CREATE ROLE ctm_owner; CREATE ROLE eve LOGIN PASSWORD 'eve'");
    await disconnect(admin);
    const eve = { ...server.connection, user: "eve", password: "eve" };
    expect(await refusal({ ...eve, role: "ctm_owner" })).toBe(
      `role-refused: eve may not take the role ctm_owner on ${place("postgres", "eve")}\nnext: connect as ctm_migrator, or GRANT ctm_owner TO the user`,
    );
  });

  it("says that nothing listens", async () => {
    expect(await refusal({ host: "/nowhere", port: 5432, user: "u", database: "d" })).toBe(
      `no-connection: /nowhere/.s.PGSQL.5432 (database d, user u): connect ENOENT /nowhere/.s.PGSQL.5432\nnext: check that the server runs and the address is right`,
    );
  });

  it("gives up on a server that never answers", async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const address = silent.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const options = { host: "127.0.0.1", port, user: "u", database: "d" };
    expect(await refusal({ ...options, connectionTimeoutMillis: 200 })).toBe(
      `no-connection: 127.0.0.1:${port} (database d, user u): no answer within 0.2 s\nnext: check the address and that nothing on the way blocks it`,
    );
    silent.close();
  });
});

describe("migrationStatus", () => {
  it("reads a server on which nothing may be written", async () => {
    const readOnly = { ...server.connection, options: "-c default_transaction_read_only=on" };
    const status = await migrationStatus(readOnly, { folder: "/nowhere" });
    expect(status).toEqual({
      schemaVersion: null,
      applied: [],
      pending: [],
      edited: [],
      missing: [],
    });
  });
});
