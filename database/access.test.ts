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

interface Policy {
  name: string;
  table: string;
  /** Counted from 1 within its table. */
  number: number;
}

async function readPolicies(): Promise<Policy[]> {
  const client = await connect(server.database("access"), "access test");
  try {
    const { rows } = await client.query<Policy>(
      `SELECT quote_ident(polname) AS name, polrelid::regclass::text AS table,
              (row_number() OVER (PARTITION BY polrelid ORDER BY polname))::integer AS number
         FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid WHERE NOT relispartition`,
    );
    return rows;
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
    const policies = await readPolicies();
    expect(policies.length).toBeGreaterThan(10);
    // No table's policies look at another table, so one of each table can go at a time.
    const rounds = Map.groupBy(policies, ({ number }) => number);
    const survivors: Policy[] = [];
    for (const round of rounds.values()) {
      const drops = round.map(({ name, table }) => `DROP POLICY ${name} ON ${table}`);
      const { problems } = await checkAccessOf(server, "access", drops.join(";"));
      const noticed = ({ table }: Policy): boolean =>
        problems.some((problem) => problem.startsWith(`${table}: `));
      survivors.push(...round.filter((policy) => !noticed(policy)));
    }
    expect(survivors).toEqual([]);
  }, 120_000);
});
