import { afterAll, beforeAll, expect, test } from "vitest";
import { manySmallFiles, muchOutput, oneLongFile } from "./scale.ts";
import { startServer, type TestServer } from "./server.ts";

let server: TestServer;

beforeAll(async () => {
  server = await startServer();
});

afterAll(() => server.stop());

// All of it in a heap of 24 MB, see scale.ts.

test("a thousand small files", async () => {
  expect(await manySmallFiles(server, 1000)).toMatchObject({
    passed: true,
    files: 1000,
    tests: 2000,
  });
}, 120_000);

test("one file of 20,000 assertions", async () => {
  expect(await oneLongFile(server, 20_000, "pass")).toMatchObject({ passed: true, tests: 20_000 });
}, 120_000);

test("one file of 2,000 failed assertions", async () => {
  const outcome = await oneLongFile(server, 2000, "fail");
  expect(outcome).toMatchObject({ passed: false, tests: 2000, failed: 2000 });
}, 120_000);

test("a query of 300,000 rows", async () => {
  expect(await muchOutput(server, 300_000)).toMatchObject({ passed: true, tests: 1 });
}, 120_000);
