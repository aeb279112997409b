import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { describeDifference } from "../catalog/compare-catalogs.ts";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { makeFreshDatabase } from "./fresh-database.ts";
import { startScratchServer, type ScratchServer } from "./scratch-server.ts";
import { isVerified, verifyMigrations, type MigrationVerification } from "./verify.ts";

vi.setConfig({ testTimeout: 30_000 });

let server: ScratchServer;
let folder: string;
let connection: DatabaseConnection;

beforeAll(async () => {
  server = await startScratchServer();
  folder = await mkdtemp(join(tmpdir(), "ctm-migrations-"));
  await mkdir(join(folder, "migrations"));
  await mkdir(join(folder, "repeatable"));
  await migration("001_tasks.sql", "CREATE TABLE tasks (id int PRIMARY KEY, title text NOT NULL);");
  await repeatable("views.sql", "CREATE OR REPLACE VIEW titles AS SELECT title FROM tasks;");
  connection = await makeFreshDatabase(server, "live", { folder });
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

const migration = async (name: string, sql: string): Promise<void> =>
  writeFile(join(folder, "migrations", name), sql);
const repeatable = async (name: string, sql: string): Promise<void> =>
  writeFile(join(folder, "repeatable", name), sql);
const verify = async (): Promise<MigrationVerification> => verifyMigrations(connection, { folder });
async function change(sql: string): Promise<void> {
  const client = await connect(connection, "somebody");
  await client.query(sql);
  await disconnect(client);
}

it("finds a database that is as the files say", async () => {
  const found = await verify();
  expect(found).toEqual({
    schemaVersion: "001",
    pending: [],
    edited: [],
    missing: [],
    drift: [],
    driftUnknown: null,
  });
  expect(isVerified(found)).toBe(true);
});

it("names a column that was dropped behind its back, pending files notwithstanding", async () => {
  await change("ALTER TABLE tasks DROP COLUMN title CASCADE");
  await migration("002_more.sql", "CREATE TABLE more (id int);");
  const found = await verify();
  expect(found.pending).toMatchObject([{ name: "002_more.sql" }]);
  expect(found.drift?.map((difference) => describeDifference(difference))).toEqual([
    "column public.tasks.title is missing",
    "view public.titles is missing",
  ]);
  expect(isVerified(found)).toBe(false);
});

it("names an edited file, and says when it cannot compare", async () => {
  await migration("001_tasks.sql", "CREATE TABLE tasks (id int PRIMARY KEY);");
  await repeatable("views.sql", "CREATE OR REPLACE VIEW titles AS SELECT id FROM tasks;");
  const found = await verify();
  expect(found.edited).toMatchObject([{ version: "001", name: "001_tasks.sql" }]);
  expect(found.drift).toBeNull();
  expect(found.driftUnknown).toBe(
    "what views.sql said when applied is not known any more; apply the pending files first",
  );
});

it("names an applied version without a file", async () => {
  await rm(join(folder, "migrations", "001_tasks.sql"));
  const found = await verify();
  expect(found.missing).toMatchObject([{ version: "001" }]);
  expect(found.driftUnknown).toBe("there are no files for 001");
});
