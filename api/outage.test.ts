import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "#system";
import { parseConfiguration } from "./src/config.ts";
import { openPools } from "./src/pools.ts";
import { start } from "./src/start.ts";
import { transact } from "./src/transaction.ts";
import { call, startTestApi, type TestApi, type TestKey } from "./testing/api.ts";

let api: TestApi;
let worker: TestKey;
let taskId: string;

beforeAll(async () => {
  api = await startTestApi((configuration) => ({
    ...configuration,
    http: { requestTimeoutMs: 1500 },
  }));
  worker = await api.createKey({ permissions: ["admin"] });
  const [task] = await api.database.sql<{ id: string }>(
    "INSERT INTO tasks (title) VALUES ('Before the outage') RETURNING id",
  );
  taskId = task?.id ?? "";
}, 60_000);
afterAll(() => api.stop());

const both = () => [api.primary, api.readonly];

function list() {
  return call(`${api.url}/api/database/tasks`, { key: worker.key });
}
function create(title: string) {
  return call(`${api.url}/api/database/tasks`, { key: worker.key, body: { title } });
}
async function createdCount(title: string): Promise<number> {
  return (await api.database.sql("SELECT 1 FROM tasks WHERE title = $1", [title])).length;
}

/** Waits until the API serves again, without a restart. */
async function recovered(): Promise<boolean> {
  return await waitFor("the API to serve again", 10_000, async () =>
    (await list()).status === 200 ? true : undefined,
  );
}

describe("without a database", () => {
  const doors: [string, string, object?][] = [
    ["GET", "/api/database/metrics"],
    ["GET", "/api/database/tasks"],
    ["GET", "/api/database/tasks/TASK"],
    ["POST", "/api/database/tasks", { title: "During the outage" }],
    ["PATCH", "/api/database/tasks/TASK/status", { status: "failed" }],
    ["POST", "/api/database/query", { sql: "SELECT 1" }],
  ];

  test("every endpoint says 503 and when to try again, and then serves again", async () => {
    for (const relay of both()) relay.cut();
    for (const [method, path, body] of doors) {
      const answer = await call(api.url + path.replace("TASK", taskId), {
        method,
        key: worker.key,
        ...(body === undefined ? {} : { body }),
      });
      expect(answer).toMatchObject({
        status: 503,
        body: {
          code: "SERVICE_UNAVAILABLE",
          error: expect.any(String),
          details: null,
          request_id: expect.any(String),
        },
      });
      expect(answer.headers.get("retry-after")).toBe("5");
    }
    for (const relay of both()) relay.restore();
    await recovered();
    expect(await createdCount("During the outage")).toBe(0);
  });

  test("health and readiness say so, to strangers nothing more", async () => {
    expect((await fetch(`${api.adminUrl}/ready`)).status).toBe(200);
    for (const relay of both()) relay.cut();
    const stranger = await call(`${api.url}/api/database/health`, { key: `ctm_${"0".repeat(64)}` });
    expect(stranger).toMatchObject({
      status: 503,
      body: {
        status: "unhealthy",
        database: { connected: false },
        version: "0.1.0",
        code: "SERVICE_UNAVAILABLE",
      },
    });
    expect(stranger.body).not.toHaveProperty("database.pools");
    expect((await fetch(`${api.adminUrl}/ready`)).status).toBe(503);
    expect((await fetch(`${api.adminUrl}/live`)).status).toBe(200);
    for (const relay of both()) relay.restore();
    await recovered();
    expect((await fetch(`${api.adminUrl}/ready`)).status).toBe(200);
  });

  test("without a replica, health is degraded and metrics come from the primary", async () => {
    api.readonly.cut();
    expect(await call(`${api.url}/api/database/health`, { key: worker.key })).toMatchObject({
      status: 200,
      body: { status: "degraded", database: { connected: true, readonly_connected: false } },
    });
    expect((await call(`${api.url}/api/database/metrics`, { key: worker.key })).status).toBe(200);
    api.readonly.restore();
  });

  test("the service starts, and serves once the database is there", async () => {
    for (const relay of both()) relay.cut();
    const early = await start(parseConfiguration(api.configuration, "test"));
    try {
      const ask = () => call(`${early.url}/api/database/tasks`, { key: worker.key });
      expect((await ask()).status).toBe(503);
      for (const relay of both()) relay.restore();
      await waitFor("the early API to serve", 10_000, async () =>
        (await ask()).status === 200 ? true : undefined,
      );
    } finally {
      for (const relay of both()) relay.restore();
      await early.stop();
    }
  });

  test("that answers no more (it vanished), requests end in time", async () => {
    // Enough for every connection to be there, and then to meet the silence.
    const all = () => Promise.all(Array.from({ length: 12 }, list));
    await all();
    for (const relay of both()) relay.silence();
    for (const answer of await all()) {
      expect(answer).toMatchObject({ status: 503, body: { code: "SERVICE_UNAVAILABLE" } });
    }
    // Another machine takes its place, but nobody closes the connections to the first one.
    for (const relay of both()) relay.replace();
    expect(await recovered()).toBe(true);
  });
});

describe("when the primary changes", () => {
  test("broken connections are not noticed by callers", async () => {
    await Promise.all(Array.from({ length: 20 }, list));
    for (let round = 0; round < 5; round += 1) {
      for (const relay of both()) relay.restore();
      const answers = await Promise.all([list(), create(`Round ${round}`), list()]);
      expect(answers.map(({ status }) => status)).toEqual([200, 201, 200]);
      expect(await createdCount(`Round ${round}`)).toBe(1);
    }
  });

  test.each([
    ["before BEGIN", "BEGIN"],
    ["before the change", "insert-task"],
  ])("a change whose connection breaks %s is made once", async (_when, text) => {
    const title = `Broken ${text}`;
    // Named statements are sent by name only once they are prepared.
    await create("Prepares");
    api.primary.cutBefore(text);
    expect((await create(title)).status).toBe(201);
    expect(await createdCount(title)).toBe(1);
  });

  test("a change whose connection breaks at COMMIT is said to be uncertain", async () => {
    api.primary.cutBefore("COMMIT");
    expect(await create("Uncertain")).toMatchObject({
      status: 503,
      body: {
        code: "SERVICE_UNAVAILABLE",
        error: expect.stringContaining("may or may not have been made"),
      },
    });
    expect(await createdCount("Uncertain")).toBe(0);
    api.primary.cutBefore("COMMIT");
    expect((await list()).status).toBe(200);
  });

  test("a server that was demoted costs one try, however many connections lead to it", async () => {
    const pools = await openPools(parseConfiguration(api.configuration, "test"), () => undefined);
    const context = {
      userId: "u",
      apiKeyId: "k",
      requestId: "r",
      clientAddress: "127.0.0.1",
      userAgent: "test",
      environment: "testing",
      statementMs: 5000,
    };
    try {
      // New sessions may only read, as on a server that has become a replica.
      await api.database.sql("ALTER ROLE ctm_api SET default_transaction_read_only = on");
      const wait = { text: "SELECT pg_sleep(0.2)", values: [] };
      await Promise.all(
        Array.from({ length: 5 }, () =>
          transact(pools.named.primary, context, "read", (run) => run(wait)),
        ),
      );
      expect(pools.named.primary.idleCount).toBe(5);
      const change = () =>
        transact(pools.named.primary, context, "write", (run) =>
          run({ text: "INSERT INTO tasks (title) VALUES ('Moved')", values: [] }),
        );
      await api.database.sql("ALTER ROLE ctm_api SET default_transaction_read_only = off");
      await change();
      expect(await createdCount("Moved")).toBe(1);
    } finally {
      await pools.end();
    }
  });

  test("while there is only a server that may not write, changes are refused for now", async () => {
    await api.database.sql("ALTER ROLE ctm_api SET default_transaction_read_only = on");
    api.primary.restore();
    expect(await create("Refused")).toMatchObject({
      status: 503,
      body: { code: "SERVICE_UNAVAILABLE" },
    });
    await api.database.sql("ALTER ROLE ctm_api SET default_transaction_read_only = off");
    expect((await create("Accepted")).status).toBe(201);
    expect([await createdCount("Refused"), await createdCount("Accepted")]).toEqual([0, 1]);
  });

  test("a rotated password is read again for each new connection", async () => {
    const path = api.configuration.database.passwordFile;
    const before = await readFile(path, "utf8");
    await api.database.sql("ALTER ROLE ctm_api PASSWORD 'rotated'");
    await writeFile(path, "rotated\n");
    api.primary.restore();
    expect(await recovered()).toBe(true);
    await api.database.sql(`ALTER ROLE ctm_api PASSWORD '${before.trim()}'`);
    await writeFile(path, before);
    api.primary.restore();
    expect(await recovered()).toBe(true);
  });
});

describe("a busy database", () => {
  test("that keeps a table locked costs a request its time limit, not the service", async () => {
    const fresh = await api.createKey();
    await api.database.sql("BEGIN");
    await api.database.sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE");
    // More than the pool for tasks has connections.
    const locked = Promise.all([create("Locked out"), ...Array.from({ length: 14 }, list)]);
    await waitFor("every connection for tasks to wait", 5000, async () => {
      const metrics = await (await fetch(`${api.adminUrl}/metrics`)).text();
      const waiting = /pool="primary",state="waiting"\} ([1-9])/.exec(metrics);
      return waiting === null ? undefined : true;
    });
    // Keys are looked up through a pool of their own, which waits for no task.
    expect((await call(`${api.url}/api/database/health`, { key: fresh.key })).status).toBe(200);
    for (const answer of await locked) {
      expect(answer).toMatchObject({ status: 503, body: { code: "SERVICE_UNAVAILABLE" } });
    }
    await api.database.sql("ROLLBACK");
    await recovered();
    expect(await createdCount("Locked out")).toBe(0);
  });
});

test("a client that never finishes its request is hung up on", async () => {
  const { hostname, port } = new URL(api.url);
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => {
      socket.write("GET /api/database/health HTTP/1.1\r\nhost: x\r\nx-slow: ");
    });
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("close", () => resolve(text));
    socket.on("error", reject);
  });
  expect(answer).toMatch(/^HTTP\/1\.1 408 [^]*"code":"VALIDATION_ERROR"/);
});
