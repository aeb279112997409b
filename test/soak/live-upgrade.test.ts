import { afterAll, beforeAll, expect, it } from "vitest";
import { startScratchServer, type ScratchServer } from "../../database/runner/scratch-server.ts";
import { upgradeWhileInUse } from "../../database/tests/live-upgrade.ts";

let server: ScratchServer;
beforeAll(async () => {
  server = await startScratchServer({
    settings: {
      shared_buffers: "1GB",
      max_wal_size: "4GB",
      // As a server that somebody's work depends on: locks are held until the disk has the WAL.
      fsync: "on",
      full_page_writes: "on",
      synchronous_commit: "on",
      wal_level: "replica",
    },
  });
});
afterAll(async () => server.stop());

it("a million tasks in use are upgraded while nobody waits two seconds", async () => {
  const upgrade = await upgradeWhileInUse(server, { tasks: 1_000_000, logRows: 5_000_000 });
  const longest = upgrade.files.toSorted((one, other) => other.durationMs - one.durationMs);
  console.log(
    `upgraded in ${upgrade.upgradeMs} ms, most of it ${longest
      .slice(0, 3)
      .map(({ name, durationMs }) => `${name} ${durationMs} ms`)
      .join(
        ", ",
      )}; of ${upgrade.statements} statements the slowest, "${upgrade.slowest}", took ${upgrade.slowestMs} ms`,
  );
  expect(upgrade.failures).toEqual([]);
  expect(upgrade.tooSlow).toEqual([]);
  expect(upgrade.drift).toEqual([]);
  expect(upgrade.rowsAfter).toEqual(upgrade.rowsBefore);
  expect(upgrade.statements).toBeGreaterThan(upgrade.upgradeMs / 10);
});
