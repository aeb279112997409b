import { afterAll, beforeAll, expect, test } from "vitest";
import { startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";
import { upgradeWhileInUse } from "./live-upgrade.ts";

let server: ScratchServer;
beforeAll(async () => {
  server = await startScratchServer({ settings: { shared_buffers: "256MB", max_wal_size: "4GB" } });
});
afterAll(async () => server.stop());

/** A tenth of the size that `npm run soak` upgrades. */
test(
  "a database in use is upgraded while nobody waits two seconds",
  { timeout: 300_000 },
  async () => {
    const upgrade = await upgradeWhileInUse(server, { tasks: 100_000, logRows: 500_000 });
    expect(upgrade.failures).toEqual([]);
    expect(upgrade.tooSlow).toEqual([]);
    expect(upgrade.drift).toEqual([]);
    expect(upgrade.rowsAfter).toEqual(upgrade.rowsBefore);
    expect(upgrade.statements).toBeGreaterThan(upgrade.upgradeMs / 10);
  },
);
