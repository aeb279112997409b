import { afterAll, beforeAll, expect, it } from "vitest";
import type { DatabaseConnection } from "../../database/runner/connect.ts";
import { startScratchServer, type ScratchServer } from "../../database/runner/scratch-server.ts";
import { findSurvivors, makeDatabases } from "../../database/tests/survivors.ts";

let server: ScratchServer;
let databases: DatabaseConnection[];
beforeAll(async () => {
  server = await startScratchServer();
  databases = await makeDatabases(server);
});
afterAll(async () => server.stop());

/** That each is also in the lists of the catalog, `npm test` asks. */
it("each rule of the schema is held by a test of what it does", async () => {
  const { tried, survivors } = await findSurvivors(databases, {
    without: ["catalog.sql", "grants.sql"],
  });
  expect(tried).toBeGreaterThan(250);
  expect(survivors.map(({ name }) => name)).toEqual([]);
});
