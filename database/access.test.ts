import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { accessDocument, accessDocumentPath, checkAccessOf } from "./access-document.ts";
import { connect, disconnect } from "./runner/connect.ts";
import { makeFreshDatabase } from "./runner/fresh-database.ts";
import { findBinaries, startScratchServer, type ScratchServer } from "./runner/scratch-server.ts";

let server: ScratchServer;

beforeAll(async () => {
  server = await startScratchServer({ binaries: await findBinaries({ atLeast: 15 }) });
  await makeFreshDatabase(server, "access");
}, 120_000);

afterAll(async () => server.stop());

async function query(database: string, text: string): Promise<{ text: string }[]> {
  const client = await connect(server.database(database), "access test");
  try {
    return (await client.query<{ text: string }>(text)).rows;
  } finally {
    await disconnect(client);
  }
}

describe("who may do what", () => {
  test("is as declared for every actor, object and command, and docs/access.md shows it", async () => {
    const result = await checkAccessOf(server, "access");
    expect(result.problems).toEqual([]);
    expect(result.counts.cells).toBeGreaterThan(3000);
    const document = await readFile(accessDocumentPath, "utf8");
    expect(document, "again with: node database/access-document.ts").toBe(accessDocument(result));
  }, 60_000);

  test("is not as declared once any policy is gone", async () => {
    const policies = await query(
      "access",
      `SELECT format('DROP POLICY %I ON %s', polname, polrelid::regclass) AS text
       FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid WHERE NOT relispartition`,
    );
    expect(policies.length).toBeGreaterThan(10);
    const survivors: string[] = [];
    for (const { text } of policies) {
      await query("postgres", "DROP DATABASE IF EXISTS dropped");
      await query("postgres", "CREATE DATABASE dropped TEMPLATE access");
      await query("dropped", text);
      const { passed } = await checkAccessOf(server, "dropped");
      if (passed) survivors.push(text);
    }
    expect(survivors).toEqual([]);
  }, 120_000);
});
