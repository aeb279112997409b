import { randomBytes } from "node:crypto";
import { Client } from "pg";
import { databaseName, makeFreshDatabase, startScratchServer } from "#database";

/** The real schema, with the real roles and grants, on a server of its own. */
export interface TestDatabase {
  /** Folder of the server's socket, `.s.PGSQL.5432`. */
  socketDirectory: string;
  passwords: { ctm_api: string; ctm_query: string };
  /** Runs SQL as the superuser, always on the same connection. */
  sql<Row extends object>(text: string, values?: unknown[]): Promise<Row[]>;
  stop(): Promise<void>;
}

export async function startDatabase(): Promise<TestDatabase> {
  const server = await startScratchServer();
  await makeFreshDatabase(server, databaseName);
  const administrator = new Client(server.database(databaseName));
  await administrator.connect();
  const passwords = {
    ctm_api: randomBytes(12).toString("hex"),
    ctm_query: randomBytes(12).toString("hex"),
  };
  for (const [role, password] of Object.entries(passwords)) {
    await administrator.query(`ALTER ROLE ${role} PASSWORD '${password}'`);
  }
  return {
    socketDirectory: server.connection.host ?? "",
    passwords,
    sql: async <Row extends object>(text: string, values: unknown[] = []) =>
      (await administrator.query<Row>(text, values)).rows,
    stop: async () => {
      await administrator.end();
      await server.stop();
    },
  };
}
