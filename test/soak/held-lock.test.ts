import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect, disconnect } from "../../database/runner/connect.ts";
import { makeFreshDatabase } from "../../database/runner/fresh-database.ts";
import { migrateUp } from "../../database/runner/migrate-up.ts";
import { describeProgress } from "../../database/runner/progress.ts";
import { startScratchServer, type ScratchServer } from "../../database/runner/scratch-server.ts";

const heldMs = 60_000;

let server: ScratchServer;
let folder: string;
beforeAll(async () => {
  server = await startScratchServer();
  folder = await mkdtemp(join(tmpdir(), "ctm-migrations-"));
  await mkdir(join(folder, "migrations"));
  await writeFile(join(folder, "migrations/001_jobs.sql"), "CREATE TABLE jobs (id int);");
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

it("an idle transaction holds a lock for a minute: others go on, and the migration ends", async () => {
  const connection = await makeFreshDatabase(server, "held", { folder });
  await writeFile(join(folder, "migrations/002_title.sql"), "ALTER TABLE jobs ADD title text;");
  const holder = await connect(connection, "forgotten psql");
  await holder.query("BEGIN; SELECT FROM jobs");

  // With the defaults that people have.
  const lines: string[] = [];
  const running = migrateUp(connection, {
    folder,
    onProgress: (progress) => lines.push(describeProgress(progress) ?? ""),
  });
  const other = await connect(connection, "somebody at work");
  const begun = performance.now();
  let longestMs = 0;
  while (performance.now() - begun < heldMs) {
    const sent = performance.now();
    await other.query("INSERT INTO jobs (id) VALUES (1)");
    longestMs = Math.max(longestMs, performance.now() - sent);
    await delay(5);
  }
  await holder.query("COMMIT");
  const { applied } = await running;
  for (const client of [holder, other]) await disconnect(client);

  console.log(`${applied[0]?.attempts ?? 0} attempts; others waited ${Math.round(longestMs)} ms`);
  expect(applied).toMatchObject([{ version: "002" }]);
  expect(applied[0]?.attempts).toBeGreaterThan(5);
  expect(longestMs).toBeLessThan(2000);
  expect(lines.join("\n")).toMatch(
    /AccessExclusiveLock on jobs.*pid \d+ \(forgotten psql, user postgres, idle in transaction/,
  );
});
