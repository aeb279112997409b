import { afterAll, beforeAll, expect, test } from "vitest";
import type { DatabaseConnection } from "../runner/connect.ts";
import { startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";
import { findSurvivors, makeDatabases } from "./survivors.ts";

let server: ScratchServer;
let databases: DatabaseConnection[];
beforeAll(async () => {
  server = await startScratchServer();
  databases = await makeDatabases(server);
});
afterAll(async () => server.stop());

/** Whether each is also held by what it does, `npm run soak` asks. */
test("no rule of the schema can go without a test going red", { timeout: 300_000 }, async () => {
  const { tried, survivors } = await findSurvivors(databases);
  expect(tried).toBeGreaterThan(250);
  expect(survivors.map(({ name }) => name)).toEqual([]);
});

test("a rule that the tests at hand do not hold is named", { timeout: 60_000 }, async () => {
  const check = "check tasks_priority_check on tasks";
  const { survivors } = await findSurvivors(databases, {
    without: ["catalog.sql", "constraints.sql"],
    select: ({ name }) => [check, "unique api_keys_key_hash_key on api_keys"].includes(name),
  });
  expect(survivors.map(({ name }) => name)).toEqual([check]);
});
