import { describe, expect, it } from "vitest";
import { exampleSettings } from "../testing/example-settings.ts";
import {
  readAccessLog,
  simulateRateLimits,
  zoneRules,
  type EdgeRequest,
  type Simulation,
} from "./index.ts";
import { requestOf } from "./testing/requests.ts";

const { rateLimits } = zoneRules(exampleSettings());
const begin = Date.UTC(2031, 0, 1);

/** Requests of one client, evenly spread from a second on. */
function train(
  count: number,
  { from = 0, every = 1, ...changes }: Partial<EdgeRequest> & { from?: number; every?: number },
): EdgeRequest[] {
  return Array.from({ length: count }, (_, index) =>
    requestOf({ ...changes, time: begin + (from + index * every) * 1000 }),
  );
}

const stopped = ({ limits }: Simulation): Record<string, number> =>
  Object.fromEntries(limits.map((limit) => [limit.ref.replace("ctm-limit-", ""), limit.stopped]));

describe("the document's limits", () => {
  it("let through what is within them", () => {
    const simulation = simulateRateLimits(rateLimits, [
      ...train(100, { every: 1 }),
      ...train(40, { path: "/api/database/metrics", ip: "203.0.113.8", every: 1.5 }),
    ]);
    expect(stopped(simulation)).toEqual({ database: 0, api: 0, burst: 0 });
    expect(simulation.stoppedBy.every((ref) => ref === null)).toBe(true);
  });

  it("stop the 21st within ten seconds, and all for a minute", () => {
    const burst = train(30, { every: 0.1 });
    const later = train(1, { from: 61 });
    const after = train(1, { from: 63 });
    const { stoppedBy, limits } = simulateRateLimits(rateLimits, [...burst, ...later, ...after]);
    expect(stoppedBy.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => null));
    expect(stoppedBy.slice(20, 30)).toEqual(Array.from({ length: 10 }, () => "ctm-limit-burst"));
    // The mitigation began with the 21st, two seconds in: it lasts until second 62.
    expect(stoppedBy.slice(30)).toEqual(["ctm-limit-burst", null]);
    expect(limits.at(-1)?.peak).toEqual({ client: "203.0.113.7", requests: 30 });
  });

  it("stop the 51st query within a minute, for ten minutes", () => {
    const path = "/api/database/query";
    const queries = train(60, { method: "POST", path, every: 1.1 });
    const simulation = simulateRateLimits(rateLimits, [
      ...queries,
      ...train(1, { path, from: 600 }),
      ...train(1, { path, from: 660 }),
    ]);
    // 1.1 s apart, 55 fit into a minute.
    expect(simulation.stoppedBy.indexOf("ctm-limit-database")).toBe(50);
    expect(simulation.stoppedBy.slice(60)).toEqual(["ctm-limit-database", null]);
  });

  it("stop the 101st request of the API within a minute, for five", () => {
    const requests = train(110, { every: 0.55 });
    const simulation = simulateRateLimits(rateLimits, requests);
    expect(simulation.stoppedBy.indexOf("ctm-limit-api")).toBe(100);
    expect(stopped(simulation)).toEqual({ database: 0, api: 10, burst: 0 });
  });

  it("count each client by itself, whatever the order of the list", () => {
    const clients = ["203.0.113.1", "203.0.113.2", "2001:db8::1"].map((ip) =>
      train(20, { ip, every: 0.1 }),
    );
    const noisy = train(25, { ip: "203.0.113.4", every: 0.1 });
    const { stoppedBy, limits } = simulateRateLimits(
      rateLimits,
      [...clients.flat(), ...noisy].toReversed(),
    );
    expect(stoppedBy.filter((ref) => ref !== null)).toHaveLength(5);
    expect(limits.at(-1)?.stoppedClients).toBe(1);
    // The last of the noisy one stand first in the reversed list.
    expect(stoppedBy.slice(0, 5).every((ref) => ref === "ctm-limit-burst")).toBe(true);
  });

  it("leave other names of the zone alone", () => {
    const requests = train(200, { host: "www.example.com", every: 0.01 });
    expect(stopped(simulateRateLimits(rateLimits, requests))).toEqual({
      database: 0,
      api: 0,
      burst: 0,
    });
  });
});

it("tells which threshold would stop nobody", () => {
  const requests = train(30, { every: 0.1 });
  const { limits } = simulateRateLimits(rateLimits, requests);
  const requestsAtPeak = limits.at(-1)?.peak?.requests;
  const settings = exampleSettings({ rateLimits: { burst: { requests: requestsAtPeak } } });
  expect(stopped(simulateRateLimits(zoneRules(settings).rateLimits, requests))).toEqual({
    database: 0,
    api: 0,
    burst: 0,
  });
});

it("plays an attack of a hundred thousand requests in seconds", { timeout: 10_000 }, () => {
  const { limits } = simulateRateLimits(rateLimits, train(100_000, { every: 0.0005 }));
  expect(limits.at(-1)?.peak?.requests).toBe(20_000);
});

it("does not pretend to count by headers", () => {
  const [first] = rateLimits;
  if (first === undefined) throw new Error("there are no limits");
  const characteristics = ["cf.colo.id", 'http.request.headers["x-api-key"]'];
  const rule = { ...first, rateLimit: { ...first.rateLimit, characteristics } };
  expect(() => simulateRateLimits([rule], [])).toThrow(
    'ctm-limit-database counts by http.request.headers["x-api-key"]',
  );
});

it("reads the API's own log, rows of api_access_logs, and passes over the rest", () => {
  const text = [
    '{"level":"info","time":"2031-01-01T00:00:02.500Z","service":"ctm-api","request_id":"a","method":"GET","endpoint":"/api/database/tasks","status":200,"milliseconds":500,"address":"203.0.113.7","msg":"answered"}',
    '{"level":"info","time":"2031-01-01T00:00:00.000Z","service":"ctm-api","msg":"listening"}',
    '{"id":1,"endpoint":"/api/database/query","method":"POST","ip_address":"203.0.113.8/32","created_at":"2031-01-01T00:00:03+00:00"}',
    "not JSON",
    "",
  ].join("\n");
  const { requests, ignoredLines } = readAccessLog(text, "api.example.com");
  expect(requests.map(({ method, path, ip, time }) => [method, path, ip, time - begin])).toEqual([
    ["GET", "/api/database/tasks", "203.0.113.7", 2000],
    ["POST", "/api/database/query", "203.0.113.8", 3000],
  ]);
  expect(ignoredLines).toBe(2);
  expect(stopped(simulateRateLimits(rateLimits, requests))).toEqual({
    database: 0,
    api: 0,
    burst: 0,
  });
});
