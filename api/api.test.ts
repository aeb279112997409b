import { randomUUID } from "node:crypto";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "#system";
import { call, startTestApi, type TestApi, type TestKey } from "./testing/api.ts";
import { parseConfiguration } from "./src/config.ts";
import { KeyDirectory } from "./src/api-key.ts";
import { Measurements } from "./src/measurements.ts";
import { openPools } from "./src/pools.ts";
import { recordMetrics } from "./src/queries/system-metrics.ts";
import { ownMetrics } from "./src/record-own-metrics.ts";
import { start } from "./src/start.ts";

let api: TestApi;
/** Every permission but admin. */
let worker: TestKey;
let admin: TestKey;
let taskId: string;

beforeAll(async () => {
  api = await startTestApi();
  worker = await api.createKey();
  admin = await api.createKey({ permissions: ["admin"] });
  taskId = await createTask({ title: "The task of the tests" });
}, 60_000);
afterAll(() => api.stop());

async function createTask(body: object): Promise<string> {
  const answer = await call(`${api.url}/api/database/tasks`, { key: worker.key, body });
  expect(answer).toMatchObject({ status: 201 });
  return idOf(answer.body);
}

function idOf(body: unknown): string {
  expect(body).toMatchObject({ task: { id: expect.any(String) } });
  const found = /"task":\{"id":"([^"]+)"/.exec(JSON.stringify(body))?.[1];
  return found ?? "";
}

interface Door {
  name: string;
  method: string;
  path: string;
  permission: string | undefined;
  body?: object;
}

const doors: Door[] = [
  { name: "health", method: "GET", path: "/api/database/health", permission: undefined },
  { name: "metrics", method: "GET", path: "/api/database/metrics", permission: "read:metrics" },
  { name: "list", method: "GET", path: "/api/database/tasks", permission: "read:tasks" },
  { name: "details", method: "GET", path: "/api/database/tasks/TASK", permission: "read:tasks" },
  {
    name: "create",
    method: "POST",
    path: "/api/database/tasks",
    permission: "write:tasks",
    body: { title: "Through the door" },
  },
  {
    name: "status",
    method: "PATCH",
    path: "/api/database/tasks/TASK/status",
    permission: "write:tasks",
    body: { status: "in_progress" },
  },
  {
    name: "query",
    method: "POST",
    path: "/api/database/query",
    permission: "admin",
    body: { sql: "SELECT 1 AS one" },
  },
];

function knock(door: Door, options: { key?: string; headers?: Record<string, string> }) {
  return call(api.url + door.path.replace("TASK", taskId), {
    method: door.method,
    ...(door.body === undefined ? {} : { body: door.body }),
    ...options,
  });
}

const everything = ["read:tasks", "write:tasks", "read:metrics", "admin"];

describe.each(doors)("the door of $name", (door) => {
  test("opens with the permission, and with admin", async () => {
    const exact = await api.createKey({
      permissions: door.permission === undefined ? [] : [door.permission],
    });
    for (const { key } of [exact, admin]) {
      expect((await knock(door, { key })).status).toBeLessThan(300);
      const bearer = await knock(door, { headers: { authorization: `Bearer ${key}` } });
      expect(bearer.status).toBeLessThan(300);
    }
  });

  const wrong = `ctm_${"0".repeat(64)}`;
  test.each<[string, { key?: string; headers?: Record<string, string> }, string]>([
    ["no key", {}, "MISSING_API_KEY"],
    ["another scheme", { headers: { authorization: "Basic eDp5" } }, "MISSING_API_KEY"],
    ["a wrong key", { key: wrong }, "INVALID_API_KEY"],
    ["a wrong bearer", { headers: { authorization: `Bearer ${wrong}` } }, "INVALID_API_KEY"],
    ["garbage", { key: "'; DROP TABLE tasks; --" }, "INVALID_API_KEY"],
  ])("is shut to %s", async (_what, options, code) => {
    const answer = await knock(door, options);
    expect(answer).toMatchObject({
      status: 401,
      body: {
        error: expect.any(String),
        code,
        details: null,
        request_id: answer.headers.get("x-request-id"),
      },
    });
    expect(answer.headers.get("www-authenticate")).toContain("Bearer");
  });

  test("is shut to a key with the right beginning and a wrong end", async () => {
    const almost = admin.key.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
    expect(await knock(door, { key: almost })).toMatchObject({
      status: 401,
      body: { code: "INVALID_API_KEY" },
    });
  });

  test.each<[string, Parameters<TestApi["createKey"]>[0], number, string]>([
    ["revoked", { isActive: false }, 401, "INACTIVE_API_KEY"],
    ["expired", { expiresIn: "-1 second" }, 401, "EXPIRED_API_KEY"],
    ["for another address", { allowedIps: ["203.0.113.0/24"] }, 403, "IP_NOT_ALLOWED"],
    ["for a mistyped address", { allowedIps: "127.0.0.1" }, 403, "IP_NOT_ALLOWED"],
    ["for another endpoint", { allowedEndpoints: ["/api/none"] }, 403, "ENDPOINT_NOT_ALLOWED"],
  ])("is shut to a key that is %s", async (_what, options, status, code) => {
    const { key } = await api.createKey({ permissions: everything, ...options });
    expect(await knock(door, { key })).toMatchObject({ status, body: { code } });
  });

  test("is shut to a key without the permission", async () => {
    const { key } = await api.createKey({
      permissions: everything.filter((one) => one !== door.permission && one !== "admin"),
    });
    // Health needs no permission: there a key with none at all comes in.
    expect(await knock(door, { key })).toMatchObject(
      door.permission === undefined
        ? { status: 200 }
        : {
            status: 403,
            body: { code: "INSUFFICIENT_PERMISSIONS", details: { required: door.permission } },
          },
    );
  });

  test("is shut to a key that has used up its hour", async () => {
    const { key } = await api.createKey({ permissions: everything, perHour: 1 });
    expect((await knock(door, { key })).status).toBeLessThan(300);
    const answer = await knock(door, { key });
    expect(answer).toMatchObject({
      status: 429,
      body: { code: "RATE_LIMIT_EXCEEDED", details: { limit: 1, window_seconds: 3600 } },
    });
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  });
});

describe("a key", () => {
  test("in the query string is none", async () => {
    const answer = await call(`${api.url}/api/database/tasks?api_key=${worker.key}`);
    expect(answer).toMatchObject({ status: 401, body: { code: "MISSING_API_KEY" } });
  });

  test("for this address and this endpoint opens it", async () => {
    const { key } = await api.createKey({
      allowedIps: ["127.0.0.0/8"],
      allowedEndpoints: ["GET /api/database/tasks/{id}"],
    });
    expect((await call(`${api.url}/api/database/tasks/${taskId}`, { key })).status).toBe(200);
    // No spelling of another path gets around the list.
    for (const path of ["/api/database/tasks", "/api/database/%74asks", "/api/database/health"]) {
      expect(await call(api.url + path, { key })).toMatchObject({
        status: 403,
        body: { code: "ENDPOINT_NOT_ALLOWED" },
      });
    }
  });

  test("cannot lie about its address: X-Forwarded-For of a stranger is not believed", async () => {
    const { key } = await api.createKey({ allowedIps: ["203.0.113.7"] });
    const answer = await call(`${api.url}/api/database/health`, {
      key,
      headers: { "x-forwarded-for": "203.0.113.7" },
    });
    expect(answer).toMatchObject({ status: 403, body: { details: { address: "127.0.0.1" } } });
  });

  test("that was revoked is refused after at most ten seconds", async () => {
    const pools = await openPools(parseConfiguration(api.configuration, "test"), () => undefined);
    try {
      let now = 0;
      const keys = new KeyDirectory(pools.named.priority, () => now);
      const made = await api.createKey();
      expect(await keys.find(made.key)).toMatchObject({ isActive: true });
      await api.database.sql("UPDATE api_keys SET is_active = false WHERE id = $1", [made.id]);
      now = 9_999;
      expect(await keys.find(made.key)).toMatchObject({ isActive: true });
      now = 10_000;
      expect(await keys.find(made.key)).toMatchObject({ isActive: false });
      await api.database.sql("DELETE FROM api_keys WHERE id = $1", [made.id]);
      now = 20_000;
      expect(await keys.find(made.key)).toBeUndefined();
    } finally {
      await pools.end();
    }
  });

  test("that expires while it is remembered is refused at once", async () => {
    const { key } = await api.createKey({ expiresIn: "1 second" });
    const ask = () => call(`${api.url}/api/database/health`, { key });
    expect((await ask()).status).toBe(200);
    const refused = await waitFor("the key to expire", 5000, async () => {
      const answer = await ask();
      return answer.status === 200 ? undefined : answer;
    });
    expect(refused).toMatchObject({ status: 401, body: { code: "EXPIRED_API_KEY" } });
  });
});

describe("limits", () => {
  test("are shown, and a refused request uses nothing up", async () => {
    const { id, key } = await api.createKey({ perHour: 3, perDay: 100 });
    const ask = () => call(`${api.url}/api/database/tasks`, { key });
    const statuses: number[] = [];
    const remaining: (string | null)[] = [];
    for (let count = 0; count < 6; count += 1) {
      const answer = await ask();
      statuses.push(answer.status);
      remaining.push(answer.headers.get("x-ratelimit-remaining"));
      expect(answer.headers.get("x-ratelimit-limit")).toBe("3");
      expect(Number(answer.headers.get("x-ratelimit-reset")) * 1000).toBeGreaterThan(Date.now());
    }
    expect(statuses).toEqual([200, 200, 200, 429, 429, 429]);
    expect(remaining).toEqual(["2", "1", "0", "0", "0", "0"]);
    expect(
      await api.database.sql("SELECT short_used FROM api_rate_limits WHERE api_key_id = $1", [id]),
    ).toEqual([{ short_used: 3 }]);
  });

  test("of a day hold beside those of an hour", async () => {
    const { key } = await api.createKey({ perHour: 100, perDay: 2 });
    const ask = () => call(`${api.url}/api/database/health`, { key });
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 200]);
    expect(await ask()).toMatchObject({
      status: 429,
      body: { details: { limit: 2, window_seconds: 86_400 } },
    });
  });

  test("hold across two processes, and after a restart", async () => {
    const { key } = await api.createKey({ perHour: 20 });
    const second = await start(parseConfiguration(api.configuration, "test"));
    try {
      const answers = await Promise.all(
        Array.from({ length: 60 }, (_, index) =>
          call(`${index % 2 === 0 ? api.url : second.url}/api/database/tasks`, { key }),
        ),
      );
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(20);
      expect(answers.filter(({ status }) => status === 429)).toHaveLength(40);
    } finally {
      await second.stop();
    }
    const third = await start(parseConfiguration(api.configuration, "test"));
    try {
      expect((await call(`${third.url}/api/database/tasks`, { key })).status).toBe(429);
    } finally {
      await third.stop();
    }
  });

  test("of queries are ten a minute for each key", async () => {
    const { key } = await api.createKey({ permissions: ["admin"] });
    const ask = () => call(`${api.url}/api/database/query`, { key, body: { sql: "SELECT 1" } });
    const answers = await Promise.all(Array.from({ length: 12 }, ask));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    expect(await ask()).toMatchObject({
      status: 429,
      body: { details: { limit: 10, window_seconds: 60 } },
    });
    expect((await call(`${api.url}/api/database/health`, { key })).status).toBe(200);
  });
});

describe("tasks", () => {
  const tasks = (path: string, key = worker.key) =>
    call(`${api.url}/api/database/tasks${path}`, { key });

  test("are created with everything that belongs to them", async () => {
    const parent = await createTask({ title: "Parent" });
    const answer = await call(`${api.url}/api/database/tasks`, {
      key: worker.key,
      body: {
        title: "Implement 'feature' 😀",
        description: "Detailed; DROP TABLE tasks",
        type: "feature",
        priority: 5,
        complexity_score: 8,
        assigned_to: "developer@company.com",
        parent_task_id: parent,
        tags: ["api", "urgent"],
        requirements: ["fast", { name: "small" }],
        acceptance_criteria: ["green"],
        affected_files: ["src/a.ts"],
        estimated_hours: 2.5,
        metadata: { source: "test" },
        contexts: [{ context_type: "codebase", context_data: { files: 3 } }],
        depends_on: [parent, parent.toUpperCase()],
      },
    });
    expect(answer).toMatchObject({
      status: 201,
      body: {
        message: "Task created",
        task: {
          title: "Implement 'feature' 😀",
          status: "pending",
          priority: 5,
          estimated_hours: 2.5,
          parent_task_id: parent,
          tags: ["api", "urgent"],
          requirements: ["fast", { name: "small" }],
          metadata: { source: "test" },
          completed_at: null,
          created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        },
      },
    });
    const details = await tasks(`/${idOf(answer.body)}`);
    expect(details.body).toMatchObject({
      task: {
        contexts: expect.arrayContaining([
          expect.objectContaining({
            context_type: "requirement",
            context_data: expect.objectContaining({
              requirements: ["fast", { name: "small" }],
              created_by: "test@company.com",
            }),
          }),
          expect.objectContaining({ context_type: "codebase", context_data: { files: 3 } }),
        ]),
        dependencies: [
          { direction: "parent", dependency_type: "depends_on", task_id: parent, title: "Parent" },
        ],
      },
    });
    expect((await tasks(`/${parent}`)).body).toMatchObject({
      task: { dependencies: [{ direction: "child", task_id: idOf(answer.body) }] },
    });
  });

  test("have the document's defaults", async () => {
    const id = await createTask({ title: "Bare" });
    expect((await tasks(`/${id}`)).body).toMatchObject({
      task: {
        type: "general",
        status: "pending",
        priority: 0,
        complexity_score: 5,
        tags: [],
        metadata: {},
        contexts: [{ context_type: "requirement" }],
        deployment_scripts: [],
        errors: [],
        dependencies: [],
      },
    });
  });

  test("that name a missing task are refused whole", async () => {
    const before = await api.database.sql("SELECT count(*) FROM tasks");
    for (const [field, body] of [
      ["depends_on", { title: "x", depends_on: [randomUUID()] }],
      ["parent_task_id", { title: "x", parent_task_id: randomUUID() }],
    ] as const) {
      expect(await call(`${api.url}/api/database/tasks`, { key: worker.key, body })).toMatchObject({
        status: 400,
        body: { code: "VALIDATION_ERROR", details: { field: `body/${field}` } },
      });
    }
    expect(await api.database.sql("SELECT count(*) FROM tasks")).toEqual(before);
  });

  test("show their deployment scripts and errors, without scripts and output", async () => {
    const id = await createTask({ title: "Deployed" });
    await api.database.sql(
      `INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content, stdout_log)
       VALUES ($1, 'release', 'deploy', 'echo hidden-content', 'hidden-output')`,
      [id],
    );
    await api.database.sql(
      `INSERT INTO error_logs (task_id, error_type, error_message) VALUES ($1, 'runtime', 'broke')`,
      [id],
    );
    const { body } = await tasks(`/${id}`);
    expect(body).toMatchObject({
      task: {
        deployment_scripts: [{ script_name: "release", status: "pending" }],
        errors: [{ error_message: "broke", severity: "error", resolved: false }],
      },
    });
    expect(JSON.stringify(body)).not.toContain("hidden");
  });

  test("leave an audit trail of who changed what, from where", async () => {
    const made = await api.createKey({ user: "o'brien@company.com" });
    const answer = await call(`${api.url}/api/database/tasks`, {
      key: made.key,
      body: { title: "Audited" },
      headers: { "x-request-id": "audited-1", "user-agent": "importer/1.0" },
    });
    expect(
      await api.database.sql(
        `SELECT action, user_id, host(ip_address) AS address, user_agent, metadata
         FROM audit_logs WHERE entity_type = 'task' AND entity_id = $1`,
        [idOf(answer.body)],
      ),
    ).toMatchObject([
      {
        action: "create",
        user_id: "o'brien@company.com",
        address: "127.0.0.1",
        user_agent: "importer/1.0",
        metadata: { api_key_id: made.id, request_id: "audited-1" },
      },
    ]);
  });

  test("that do not exist are 404", async () => {
    const id = randomUUID();
    expect(await tasks(`/${id}`)).toMatchObject({
      status: 404,
      body: { code: "TASK_NOT_FOUND", details: { id } },
    });
    const change = await call(`${api.url}/api/database/tasks/${id}/status`, {
      method: "PATCH",
      key: worker.key,
      body: { status: "failed" },
    });
    expect(change).toMatchObject({ status: 404, body: { code: "TASK_NOT_FOUND" } });
  });

  test("change their status, remember it, and know when they were completed", async () => {
    const id = await createTask({ title: "Changing" });
    const change = (status: string, notes?: string) =>
      call(`${api.url}/api/database/tasks/${id}/status`, {
        method: "PATCH",
        key: worker.key,
        body: notes === undefined ? { status } : { status, notes },
      });
    expect(await change("in_progress", "Started")).toMatchObject({
      status: 200,
      body: { message: "Task status changed", task: { status: "in_progress", completed_at: null } },
    });
    expect(await change("completed")).toMatchObject({
      body: { task: { status: "completed", completed_at: expect.any(String) } },
    });
    expect(await change("pending")).toMatchObject({
      body: { task: { status: "pending", completed_at: null } },
    });
    const contexts = await api.database.sql(
      `SELECT context_data->>'from' AS "from", context_data->>'to' AS "to",
              context_data->>'notes' AS notes, context_data->>'changed_by' AS by
       FROM task_contexts WHERE task_id = $1 AND context_type = 'status_change' ORDER BY created_at`,
      [id],
    );
    expect(contexts).toEqual([
      { from: "pending", to: "in_progress", notes: "Started", by: "test@company.com" },
      { from: "in_progress", to: "completed", notes: null, by: "test@company.com" },
      { from: "completed", to: "pending", notes: null, by: "test@company.com" },
    ]);
  });

  test("that change twice at once form one chain of changes", async () => {
    const id = await createTask({ title: "Contended" });
    const states = ["in_progress", "failed", "cancelled", "pending", "completed"];
    await Promise.all(
      [...states, ...states].map((status) =>
        call(`${api.url}/api/database/tasks/${id}/status`, {
          method: "PATCH",
          key: worker.key,
          body: { status },
        }),
      ),
    );
    const [row] = await api.database.sql<{ steps: number; broken: number }>(
      `SELECT count(*)::integer AS steps, count(*) FILTER (WHERE "from" <> previous)::integer AS broken
       FROM (SELECT context_data->>'from' AS "from",
                    lag(context_data->>'to', 1, 'pending') OVER (ORDER BY created_at) AS previous
             FROM task_contexts WHERE task_id = $1 AND context_type = 'status_change') AS changes`,
      [id],
    );
    expect(row).toEqual({ steps: 10, broken: 0 });
  });

  test("are listed by page, newest first or as a queue, with every filter", async () => {
    const person = `lister-${randomUUID()}`;
    for (let index = 1; index <= 5; index += 1) {
      await createTask({
        title: `Listed 100% ${index}`,
        description: index === 3 ? "the odd_one" : "ordinary",
        priority: index % 3,
        assigned_to: person,
      });
    }
    const list = (query: string) => tasks(`?assigned_to=${person}&${query}`);
    const titles = (numbers: number[]) => ({
      body: { tasks: numbers.map((number) => ({ title: `Listed 100% ${number}` })) },
    });
    expect(await list("limit=2&page=2")).toMatchObject({
      ...titles([3, 2]),
      body: {
        ...titles([3, 2]).body,
        pagination: { page: 2, limit: 2, total: 5, total_pages: 3, has_next: true, has_prev: true },
      },
    });
    expect(await list("page=1&limit=5")).toMatchObject({
      body: { pagination: { total: 5, total_pages: 1, has_next: false, has_prev: false } },
    });
    expect(await list("page=9")).toMatchObject({
      body: {
        tasks: [],
        pagination: { total: 5, total_pages: 1, has_next: false, has_prev: true },
      },
    });
    expect(await list("sort=queue")).toMatchObject(titles([2, 5, 1, 4, 3]));
    expect(await list("priority=2")).toMatchObject(titles([5, 2]));
    expect(await list("search=ODD_ONE")).toMatchObject(titles([3]));
    expect(await list("search=odd.one")).toMatchObject({ body: { pagination: { total: 0 } } });
    expect(await list(`search=${encodeURIComponent("100% 4")}`)).toMatchObject(titles([4]));
    expect(await list("search=100_")).toMatchObject({ body: { pagination: { total: 0 } } });
    expect(await list(`search=${encodeURIComponent("L%d")}`)).toMatchObject({
      body: { pagination: { total: 0 } },
    });
    expect(await list("status=completed")).toMatchObject({ body: { pagination: { total: 0 } } });
    expect(await list(`search=${encodeURIComponent("\\")}`)).toMatchObject({ status: 200 });
  });
});

describe("a request that is not right is one clear 400", () => {
  const deep = `{"title":"x","metadata":{"a":${"[".repeat(40)}${"]".repeat(40)}}}`;
  const bodies: [string, string, RegExp][] = [
    ["no JSON", "{", /not valid JSON/],
    ["nothing", "", /body/i],
    ["a list", "[]", /body must be object/],
    ["null", "null", /body must be object/],
    ["no title", "{}", /title/],
    ["an empty title", '{"title":""}', /body\/title/],
    ["a blank title", '{"title":"  "}', /body\/title/],
    ["a title of 256 characters", `{"title":"${"x".repeat(256)}"}`, /body\/title/],
    ["a title that is a number", '{"title":5}', /body\/title must be string/],
    ["an unknown key", '{"title":"x","is_admin":true}', /is_admin/],
    ["a status", '{"title":"x","status":"completed"}', /status/],
    ["a priority in text", '{"title":"x","priority":"5"}', /body\/priority must be integer/],
    ["a priority of 11", '{"title":"x","priority":11}', /body\/priority/],
    ["a broken priority", '{"title":"x","priority":1.5}', /body\/priority/],
    ["a complexity of 0", '{"title":"x","complexity_score":0}', /body\/complexity_score/],
    ["negative hours", '{"title":"x","estimated_hours":-1}', /body\/estimated_hours/],
    ["endless hours", '{"title":"x","estimated_hours":1e9}', /body\/estimated_hours/],
    ["a parent that is no id", '{"title":"x","parent_task_id":"1"}', /body\/parent_task_id/],
    [
      "a parent written as a URN",
      `{"title":"x","parent_task_id":"urn:uuid:${randomUUID()}"}`,
      /body\/parent_task_id/,
    ],
    ["tags that are numbers", '{"title":"x","tags":[1]}', /body\/tags\/0/],
    ["metadata that is a list", '{"title":"x","metadata":[]}', /body\/metadata/],
    [
      "an unknown context type",
      '{"title":"x","contexts":[{"context_type":"other","context_data":{}}]}',
      /context_type/,
    ],
    [
      "a context without data",
      '{"title":"x","contexts":[{"context_type":"error"}]}',
      /context_data/,
    ],
    ["a dependency that is no id", '{"title":"x","depends_on":["x"]}', /body\/depends_on\/0/],
    ["a NUL", '{"title":"a\\u0000b"}', /NUL/],
    ["half a surrogate pair", '{"title":"\\ud800"}', /surrogate/],
    ["too deep a nesting", deep, /deeper than 32/],
    ["a prototype", '{"title":"x","__proto__":{"a":1}}', /__proto__/],
    ["two MiB", `{"title":"x","description":"${"x".repeat(2_097_152)}"}`, /too large/i],
  ];
  test.each(bodies)("a body with %s", async (_what, text, message) => {
    const answer = await call(`${api.url}/api/database/tasks`, {
      method: "POST",
      key: worker.key,
      text,
    });
    expect(answer).toMatchObject({
      status: 400,
      body: {
        error: expect.stringMatching(message),
        code: "VALIDATION_ERROR",
        request_id: expect.any(String),
      },
    });
  });

  const urls: [string, string, RegExp][] = [
    ["page 0", "/tasks?page=0", /querystring\/page/],
    ["page -1", "/tasks?page=-1", /querystring\/page/],
    ["page 1.5", "/tasks?page=1.5", /querystring\/page/],
    ["page 1e3", "/tasks?page=1e3", /querystring\/page/],
    ["page one", "/tasks?page=one", /querystring\/page/],
    ["no page", "/tasks?page=", /querystring\/page/],
    ["page 10^30", `/tasks?page=1${"0".repeat(30)}`, /querystring\/page/],
    ["page 2^53", "/tasks?page=9007199254740993", /querystring\/page/],
    ["two pages", "/tasks?page=1&page=2", /querystring\/page/],
    ["limit 0", "/tasks?limit=0", /querystring\/limit/],
    ["limit 101", "/tasks?limit=101", /querystring\/limit/],
    ["an unknown status", "/tasks?status=done", /status.*pending/],
    ["priority 99", "/tasks?priority=99", /querystring\/priority/],
    ["an unknown filter", "/tasks?owner=me", /owner/],
    ["an unknown order", "/tasks?sort=title;DROP", /sort/],
    ["an empty search", "/tasks?search=", /search/],
    ["a long search", `/tasks?search=${"x".repeat(201)}`, /search/],
    ["a search for NUL", "/tasks?search=%00", /search/],
    ["somebody with a NUL", "/tasks?assigned_to=a%00", /assigned_to/],
    ["an id that is none", "/tasks/1", /params\/id/],
    ["an id with an injection", "/tasks/1'%20OR%201=1", /params\/id/],
    ["an id as a URN", `/tasks/urn:uuid:${randomUUID()}`, /params\/id/],
    ["an id with a NUL", "/tasks/%00", /./],
    ["a broken escape", "/tasks/%zz", /./],
  ];
  test.each(urls)("a URL with %s", async (_what, path, message) => {
    expect(await call(`${api.url}/api/database${path}`, { key: worker.key })).toMatchObject({
      status: 400,
      body: { error: expect.stringMatching(message), code: "VALIDATION_ERROR" },
    });
  });

  test.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])(
    "a body of type %s",
    async (type) => {
      const answer = await call(`${api.url}/api/database/tasks`, {
        key: worker.key,
        text: "title=x",
        headers: { "content-type": type },
      });
      expect(answer).toMatchObject({
        status: 400,
        body: { code: "VALIDATION_ERROR", error: expect.stringContaining("application/json") },
      });
    },
  );

  test("a body without a type", async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const request = httpRequest(
        `${api.url}/api/database/tasks`,
        { method: "POST", headers: { "x-api-key": worker.key, "content-length": 2 } },
        (response) => {
          response.setEncoding("utf8");
          let text = String(response.statusCode);
          response.on("data", (chunk: string) => (text += chunk));
          response.on("end", () => resolve(text));
        },
      );
      request.on("error", reject);
      request.end("{}");
    });
    expect(answer).toMatch(/^400.*VALIDATION_ERROR/);
  });

  test("bytes that are no HTTP", async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const { hostname, port } = new URL(api.url);
      const socket = connect(Number(port), hostname, () => socket.write("NONSENSE\r\n\r\n"));
      let text = "";
      socket.on("data", (chunk) => (text += String(chunk)));
      socket.on("end", () => resolve(text));
      socket.on("error", reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 [^]*"code":"VALIDATION_ERROR"/);
  });

  test("a status that is none", async () => {
    for (const body of [{}, { status: "done" }, { status: "failed", notes: 5 }, { status: null }]) {
      const answer = await call(`${api.url}/api/database/tasks/${taskId}/status`, {
        method: "PATCH",
        key: worker.key,
        body,
      });
      expect(answer).toMatchObject({ status: 400, body: { code: "VALIDATION_ERROR" } });
    }
  });
});

describe("the rest of the service", () => {
  test("an unknown endpoint or method is 404, in the same shape", async () => {
    for (const [method, path] of [
      ["GET", "/"],
      ["DELETE", "/api/database/tasks"],
      ["GET", "/metrics"],
      ["GET", "/live"],
    ] as const) {
      expect(await call(api.url + path, { method, key: admin.key })).toMatchObject({
        status: 404,
        body: { code: "NOT_FOUND", details: null },
      });
    }
  });

  test("a request may name itself, but not with anything", async () => {
    const ask = async (id: string) =>
      (
        await call(`${api.url}/api/database/health`, { headers: { "x-request-id": id } })
      ).headers.get("x-request-id");
    expect(await ask("job-17:step.2")).toBe("job-17:step.2");
    expect(await ask("with space")).toMatch(/^[0-9a-f-]{36}$/);
    expect(await ask("x".repeat(129))).toMatch(/^[0-9a-f-]{36}$/);
    expect(await ask(worker.key)).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("health tells versions and pools", async () => {
    expect(await call(`${api.url}/api/database/health`, { key: worker.key })).toMatchObject({
      status: 200,
      body: {
        status: "healthy",
        timestamp: expect.stringMatching(/Z$/),
        response_time_ms: expect.any(Number),
        database: {
          connected: true,
          readonly_connected: true,
          pools: {
            primary: { min: 2, max: 10 },
            readonly: { min: 1, max: 5 },
            priority: { min: 1, max: 3 },
            background: { min: 1, max: 2 },
          },
        },
        version: "0.1.0",
      },
    });
  });

  test("metrics are pool statistics and the last hour of system_metrics", async () => {
    await api.database.sql(
      `INSERT INTO system_metrics (metric_category, metric_name, metric_value, metric_unit, timestamp)
       VALUES ('security', 'recent', 1.5, 'count', now() - interval '59 minutes'),
              ('security', 'older', 1.5, 'count', now() - interval '61 minutes')`,
    );
    const answer = await call(`${api.url}/api/database/metrics`, { key: worker.key });
    expect(answer).toMatchObject({
      status: 200,
      body: { pools: { primary: { max: 10 } }, timestamp: expect.any(String) },
    });
    const text = JSON.stringify(answer.body);
    expect(text).toContain('"metric_name":"recent","metric_value":1.5');
    expect(text).not.toContain('"older"');
  });

  test("a minute of requests becomes rows of system_metrics, which the API shows", async () => {
    const pools = await openPools(parseConfiguration(api.configuration, "test"), () => undefined);
    const measurements = new Measurements();
    for (const [status, seconds] of [
      [200, 0.1],
      [404, 0.1],
      [503, 0.4],
    ] as const) {
      measurements.record("GET", "/api/database/tasks", status, seconds);
    }
    await recordMetrics(pools.named.background, ownMetrics({ measurements, pools }));
    const { key } = await api.createKey();
    const { body } = await call(`${api.url}/api/database/metrics`, { key });
    expect(body).toMatchObject({
      system_metrics: expect.arrayContaining([
        expect.objectContaining({ metric_name: "requests", metric_value: 3 }),
        expect.objectContaining({ metric_name: "response_time_average", metric_value: 200 }),
        expect.objectContaining({
          metric_category: "error_rate",
          metric_name: "server_errors",
          metric_value: 33.333,
          metric_unit: "percent",
          aggregation_period: "1min",
        }),
        expect.objectContaining({
          metric_name: "pool_connections_in_use",
          dimensions: { pool: "primary", process_id: expect.any(String) },
        }),
      ]),
    });
    // The next minute begins at nothing.
    expect(ownMetrics({ measurements, pools })[0]).toMatchObject({ metric_value: 0 });
    await pools.end();
  });

  test("the admin port says live and ready, and counts for Prometheus", async () => {
    const ask = async (path: string) => {
      const response = await fetch(api.adminUrl + path);
      return { status: response.status, text: await response.text(), headers: response.headers };
    };
    expect(await ask("/live")).toMatchObject({ status: 200 });
    expect(await ask("/ready")).toMatchObject({ status: 200 });
    const metrics = await ask("/metrics");
    expect(metrics.headers.get("content-type")).toContain("version=0.0.4");
    expect(metrics.text).toMatch(
      /^ctm_api_requests_total\{method="GET",route="\/api\/database\/tasks\/\{id\}",status="200"\} \d+$/m,
    );
    expect(metrics.text).toMatch(/^ctm_api_pool_connections\{pool="primary",state="max"\} 10$/m);
    // An id is no label: a series for each task would fill Prometheus.
    expect(metrics.text).not.toContain(taskId);
    expect((await ask("/api/database/tasks")).status).toBe(404);
  });

  test("uses of keys are counted and the access log written, without keys or secrets", async () => {
    const second = await start(parseConfiguration(api.configuration, "test"));
    const user = `logged-${randomUUID()}`;
    const made = await api.createKey({ user });
    const secret = `hunter-${randomUUID()}`;
    await call(`${second.url}/api/database/tasks?api_key=${made.key}`, { key: made.key });
    await call(`${second.url}/api/database/tasks`, {
      headers: { authorization: `Bearer ${made.key}`, cookie: secret },
      body: { title: `key ${made.key}`, metadata: { password: secret, apiToken: secret } },
    });
    await call(`${second.url}/${made.key}`, { key: made.key });
    await call(`${second.url}/api/database/tasks`, {
      key: made.key,
      headers: { "user-agent": `agent ${made.key}`, "x-forwarded-for": "203.0.113.1" },
    });
    await second.stop();
    const rows = await api.database.sql<Record<string, unknown>>(
      `SELECT endpoint, method, response_status, host(ip_address) AS address, api_key_id,
              rate_limit_remaining IS NOT NULL AS limited, api_access_logs::text AS whole
       FROM api_access_logs WHERE user_id = $1 OR endpoint LIKE '/ctm%' ORDER BY created_at, endpoint`,
      [user],
    );
    const common = { address: "127.0.0.1", api_key_id: made.id, limited: true };
    expect(rows).toHaveLength(4);
    expect(rows).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          ...common,
          endpoint: "/api/database/tasks",
          method: "POST",
          response_status: 201,
        }),
        expect.objectContaining({ endpoint: "/ctm_[redacted]", response_status: 404 }),
      ]),
    );
    const whole = JSON.stringify(rows);
    expect(whole).not.toContain(made.key.slice(4));
    expect(whole).not.toContain(secret);
    const [use] = await api.database.sql(
      `SELECT usage_count, last_used_at > now() - interval '1 minute' AS recently
       FROM api_keys WHERE id = $1`,
      [made.id],
    );
    expect(use).toEqual({ usage_count: 3, recently: true });
  });

  test("requests that no key was behind are in the access log too", async () => {
    const second = await start(parseConfiguration(api.configuration, "test"));
    const requestId = randomUUID();
    await call(`${second.url}/api/database/tasks`, { headers: { "x-request-id": requestId } });
    await second.stop();
    expect(
      await api.database.sql(
        `SELECT user_id, api_key_id, response_status, response_body FROM api_access_logs
         WHERE request_id = $1`,
        [requestId],
      ),
    ).toEqual([
      {
        user_id: null,
        api_key_id: null,
        response_status: 401,
        response_body: { code: "MISSING_API_KEY" },
      },
    ]);
  });
});

describe("behind a proxy that is trusted", () => {
  test("the client's address is the one that the proxy saw", async () => {
    const second = await start(
      parseConfiguration({ ...api.configuration, trustedProxies: ["127.0.0.1"] }, "test"),
    );
    try {
      const { key } = await api.createKey({ allowedIps: ["203.0.113.7"] });
      const from = (forwarded: string) =>
        call(`${second.url}/api/database/health`, {
          key,
          headers: { "x-forwarded-for": forwarded },
        });
      expect((await from("203.0.113.7")).status).toBe(200);
      // What the client itself wrote comes first in the header and is not believed.
      expect((await from("203.0.113.7, 198.51.100.1")).status).toBe(403);
    } finally {
      await second.stop();
    }
  });
});

describe("behind Cloudflare Access", () => {
  test("no key is looked at before the token of the edge", async () => {
    const second = await start(
      parseConfiguration(
        {
          ...api.configuration,
          access: {
            // Nobody answers there: a token that must be checked cannot be.
            certificatesUrl: "http://127.0.0.1:1/certs",
            audience: "aud",
            issuer: "https://team.example.com",
          },
        },
        "test",
      ),
    );
    try {
      for (const path of ["/api/database/health", "/api/database/tasks", "/none"]) {
        expect(await call(second.url + path, { key: admin.key })).toMatchObject({
          status: 403,
          body: { code: "ACCESS_TOKEN_REQUIRED" },
        });
      }
      const header = Buffer.from('{"alg":"RS256","kid":"one"}').toString("base64url");
      expect(
        await call(`${second.url}/api/database/tasks`, {
          key: admin.key,
          headers: { "cf-access-jwt-assertion": `${header}.e30.AA` },
        }),
      ).toMatchObject({ status: 503, body: { code: "SERVICE_UNAVAILABLE" } });
      expect((await fetch(`${second.adminUrl}/live`)).status).toBe(200);
    } finally {
      await second.stop();
    }
  });
});
