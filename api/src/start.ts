import type { AddressInfo } from "node:net";
import { createAdminServer } from "./admin-server.ts";
import { describe } from "./answer-error.ts";
import { KeyDirectory } from "./api-key.ts";
import { Batch } from "./batch.ts";
import { CloudflareAccess } from "./cloudflare-access.ts";
import type { Settings } from "./config.ts";
import { Measurements } from "./measurements.ts";
import { openPools } from "./pools.ts";
import { writeAccessLog, type AccessLogEntry } from "./queries/access-log.ts";
import { recordKeyUses, type KeyUse } from "./queries/keys.ts";
import { RateLimiter } from "./rate-limit.ts";
import { recordOwnMetrics } from "./record-own-metrics.ts";
import { allPoolStatistics } from "./routes/read-health.ts";
import { createServer } from "./server.ts";
import type { Services } from "./services.ts";
import { apiVersion } from "./version.ts";

/** A running API. */
export interface RunningApi {
  url: string;
  adminUrl: string;
  /** Stops taking requests, finishes those under way, writes what is waiting to be written. */
  stop(): Promise<void>;
}

/** How long requests under way may take to finish once the process is asked to stop. */
const drainMs = 6000;
/** How long the rest of stopping (last log entries, closing connections) may take. */
const closeMs = 1500;

/** Starts both servers. The database need not be there yet: until it is, answers are 503. */
export async function start(settings: Settings): Promise<RunningApi> {
  const measurements = new Measurements();
  const pools = await openPools(settings, (pool, error) =>
    server.log.warn({ pool, cause: describe(error) }, "an idle connection broke"),
  );
  const services: Services = {
    settings,
    pools,
    keys: new KeyDirectory(pools.named.priority),
    limiter: new RateLimiter(pools.named.priority),
    measurements,
    access: settings.access === undefined ? undefined : new CloudflareAccess(settings.access),
  };
  const lost =
    (what: string) =>
    (count: number, error?: unknown): void => {
      measurements.lostEntries += count;
      server.log.warn(
        { lost: count, ...(error === undefined ? {} : { cause: describe(error) }) },
        `${what} could not be written`,
      );
    };
  const background = pools.named.background;
  const accessLog = new Batch<AccessLogEntry>(
    (entries) => writeAccessLog(background, entries),
    lost("access log entries"),
    { everyMs: 1000, size: 500, capacity: 20_000 },
  );
  const keyUses = new Batch<KeyUse>(
    (uses) => recordKeyUses(background, addUp(uses)),
    lost("uses of keys"),
    { everyMs: 5000, size: 1000, capacity: 100_000 },
  );
  const server = createServer(services, {
    onAccess: (entry) => accessLog.add(entry),
    onKeyUse: (apiKeyId) => keyUses.add({ apiKeyId, uses: 1, lastUsedAt: new Date() }),
  });
  const ownMetrics = recordOwnMetrics(services, (error) =>
    server.log.warn({ cause: describe(error) }, "metrics could not be written"),
  );
  let draining = false;
  const admin = createAdminServer(services, () => draining);
  addGauges(services, () => accessLog.waiting);

  await server.listen(settings.listen);
  await admin.listen(settings.admin);
  const running: RunningApi = {
    url: urlOf(settings.listen.host, server.server.address()),
    adminUrl: urlOf(settings.admin.host, admin.server.address()),
    stop: async () => {
      draining = true;
      ownMetrics.stop();
      if (!(await within(drainMs, server.close()))) {
        server.log.warn({ waited_ms: drainMs }, "requests under way were cut off");
      }
      await within(closeMs, Promise.all([accessLog.end(), keyUses.end()]));
      await within(closeMs, Promise.all([admin.close(), pools.end()]));
    },
  };
  server.log.info(
    { url: running.url, admin_url: running.adminUrl, version: apiVersion },
    "listening",
  );
  void pools.warm();
  return running;
}

/** One entry for each key: a batch is one statement, which may touch a row only once. */
function addUp(uses: readonly KeyUse[]): KeyUse[] {
  const byKey = new Map<string, KeyUse>();
  for (const use of uses) {
    const sum = byKey.get(use.apiKeyId);
    byKey.set(use.apiKeyId, { ...use, uses: use.uses + (sum?.uses ?? 0) });
  }
  return [...byKey.values()];
}

function addGauges({ measurements, pools }: Services, accessLogWaiting: () => number): void {
  measurements.add({
    name: "ctm_api_pool_connections",
    help: "Database connections by pool and state.",
    values: () =>
      Object.entries(allPoolStatistics(pools)).flatMap(([pool, statistics]) =>
        (["total", "idle", "waiting", "max"] as const).map((state) => ({
          labels: { pool, state },
          value: statistics[state],
        })),
      ),
  });
  measurements.add({
    name: "ctm_api_access_log_waiting",
    help: "Access-log entries not yet written.",
    values: () => [{ value: accessLogWaiting() }],
  });
  measurements.add({
    name: "ctm_api_info",
    help: "Version of the API.",
    values: () => [{ labels: { version: apiVersion }, value: 1 }],
  });
  measurements.add({
    name: "process_resident_memory_bytes",
    help: "Memory of the process.",
    values: () => [{ value: process.memoryUsage.rss() }],
  });
}

/** Whether the work was done in that time. */
async function within(milliseconds: number, work: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const done = work.then(() => true);
  return await Promise.race([done, late]).finally(() => clearTimeout(timer));
}

function urlOf(host: string, address: AddressInfo | string | null): string {
  if (address === null || typeof address === "string") throw new Error("not listening on a port");
  return `http://${host.includes(":") ? `[${host}]` : host}:${address.port}`;
}
