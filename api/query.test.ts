import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "#system";
import { parseConfiguration } from "./src/config.ts";
import { openPools } from "./src/pools.ts";
import { runAdminQuery } from "./src/queries/admin-query.ts";
import { call, startTestApi, type TestApi } from "./testing/api.ts";

let api: TestApi;

beforeAll(async () => {
  api = await startTestApi();
  await api.database.sql(
    "INSERT INTO tasks (title) SELECT 'task ' || n FROM generate_series(1, 3) n",
  );
}, 60_000);
afterAll(() => api.stop());

/** Each with a key of its own: the ten queries a minute are another test's subject. */
async function query(body: unknown) {
  const { key } = await api.createKey({ permissions: ["admin"], user: "admin@company.com" });
  return await call(`${api.url}/api/database/query`, { key, body });
}

describe("a query", () => {
  test("answers rows, fields, their number and the time", async () => {
    expect(
      await query({
        sql: "SELECT count(*), max(priority) AS top FROM tasks WHERE status = 'pending'",
      }),
    ).toMatchObject({
      status: 200,
      body: {
        rows: [{ count: "3", top: 0 }],
        row_count: 1,
        truncated: false,
        execution_time_ms: expect.any(Number),
        fields: [
          { name: "count", data_type: "bigint" },
          { name: "top", data_type: "integer" },
        ],
      },
    });
  });

  test.each<[string, object, unknown[]]>([
    [
      "parameters",
      { sql: "SELECT $1::int + 1 AS n, $2 AS t", params: [41, "x"] },
      [{ n: 42, t: "x" }],
    ],
    [
      "null and booleans",
      { sql: "SELECT $1::text AS n, NOT $2::bool AS b", params: [null, true] },
      [{ n: null, b: false }],
    ],
    ["WITH", { sql: "WITH a AS (SELECT 1 AS n) SELECT * FROM a" }, [{ n: 1 }]],
    ["VALUES", { sql: "VALUES (1), (2)" }, [{ column1: 1 }, { column1: 2 }]],
    ["parentheses", { sql: "(SELECT 1 AS n) UNION (SELECT 1)" }, [{ n: 1 }]],
    ["a semicolon at the end", { sql: "SELECT 1 AS n;" }, [{ n: 1 }]],
    ["comments around", { sql: "-- a\n/* b /* c */ ; */ SELECT 1 AS n -- d" }, [{ n: 1 }]],
    ["SHOW", { sql: "SHOW transaction_read_only" }, [{ transaction_read_only: "on" }]],
    [
      "JSON and lists",
      { sql: `SELECT '{"a":[1]}'::jsonb AS j, ARRAY[1,2] AS a` },
      [{ j: { a: [1] }, a: "{1,2}" }],
    ],
    [
      "numbers that JSON lacks",
      { sql: "SELECT 'NaN'::float8 AS f, 1e30::numeric AS n" },
      [{ f: "NaN", n: "1000000000000000000000000000000" }],
    ],
    [
      "times to the microsecond",
      { sql: "SELECT '2026-11-24 01:02:03.456789'::timestamp AS t" },
      [{ t: "2026-11-24 01:02:03.456789" }],
    ],
    ["bytes", { sql: "SELECT '\\x00ff'::bytea AS b" }, [{ b: "\\x00ff" }]],
    ["no rows", { sql: "SELECT 1 WHERE false" }, []],
    ["the primary", { sql: "SELECT 1 AS n", pool: "primary" }, [{ n: 1 }]],
  ])("takes %s", async (_what, body, rows) => {
    expect(await query(body)).toMatchObject({
      status: 200,
      body: { rows, row_count: rows.length },
    });
  });

  test("explains itself", async () => {
    const answer = await query({ sql: "EXPLAIN (ANALYZE, COSTS off) SELECT 1" });
    expect(answer.status).toBe(200);
    expect(JSON.stringify(answer.body)).toContain("QUERY PLAN");
  });

  test("of a mistake tells what and where", async () => {
    expect(await query({ sql: "SELECT nonsense FROM tasks" })).toMatchObject({
      status: 400,
      body: {
        code: "QUERY_EXECUTION_ERROR",
        error: expect.stringContaining("nonsense"),
        details: { sqlstate: "42703", position: 8 },
      },
    });
    expect(await query({ sql: "SELECT $1::int", params: ["x"] })).toMatchObject({
      status: 400,
      body: { code: "QUERY_EXECUTION_ERROR", details: { sqlstate: "22P02" } },
    });
    expect(await query({ sql: "SELECT $1::int" })).toMatchObject({ status: 400 });
  });

  test.each<[string, object]>([
    ["no SQL", {}],
    ["empty SQL", { sql: "" }],
    ["10,001 characters", { sql: `SELECT 1 ${" ".repeat(9992)}` }],
    ["an unknown pool", { sql: "SELECT 1", pool: "priority" }],
    ["parameters that are none", { sql: "SELECT 1", params: { a: 1 } }],
    ["nested parameters", { sql: "SELECT 1", params: [[1]] }],
    ["an unknown key", { sql: "SELECT 1", role: "postgres" }],
    ["a NUL", { sql: "SELECT '\0'" }],
  ])("with %s is not one", async (_what, body) => {
    expect(await query(body)).toMatchObject({ status: 400, body: { code: "VALIDATION_ERROR" } });
  });
});

describe("an attack by query", () => {
  const refused: [string, string, "QUERY_EXECUTION_ERROR"?][] = [
    ["INSERT", "INSERT INTO tasks (title) VALUES ('x')"],
    ["UPDATE", "UPDATE tasks SET title = 'x'"],
    ["DELETE", "DELETE FROM tasks"],
    ["TRUNCATE", "TRUNCATE tasks"],
    ["DROP", "DROP TABLE tasks"],
    ["CREATE", "CREATE TABLE x (a int)"],
    ["a temporary table", "CREATE TEMP TABLE x (a int)"],
    ["GRANT", "GRANT ctm_owner TO ctm_query"],
    ["COPY out", "COPY tasks TO STDOUT"],
    ["COPY to a program", "COPY (SELECT 1) TO PROGRAM 'id'"],
    ["COPY from a file", "COPY tasks FROM '/etc/passwd'"],
    ["DO", "DO $$ BEGIN RAISE NOTICE 'x'; END $$"],
    ["CALL", "CALL nothing()"],
    ["SET", "SET statement_timeout = 0"],
    ["SET ROLE", "SET ROLE ctm_api"],
    ["RESET", "RESET ALL"],
    ["BEGIN", "BEGIN READ WRITE"],
    ["COMMIT", "COMMIT"],
    ["PREPARE", "PREPARE p AS SELECT 1"],
    ["LOCK", "LOCK tasks"],
    ["LISTEN", "LISTEN x"],
    ["VACUUM", "VACUUM"],
    ["two statements", "SELECT 1; SELECT 2"],
    ["a commit behind a query", "SELECT 1; COMMIT; DROP TABLE tasks"],
    ["a statement behind a comment", "SELECT 1 /* */ ; /* */ DELETE FROM tasks"],
    ["a statement in disguise", "/* SELECT */ DELETE FROM tasks"],
    ["a writing WITH", "WITH d AS (DELETE FROM tasks RETURNING *) SELECT * FROM d"],
    [
      "a writing WITH, explained",
      "EXPLAIN ANALYZE WITH d AS (DELETE FROM tasks RETURNING *) SELECT * FROM d",
    ],
    ["an explained INSERT", "EXPLAIN ANALYZE INSERT INTO tasks (title) VALUES ('x')"],
    ["an explained CREATE TABLE AS", "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1"],
    ["SELECT INTO", "SELECT 1 AS a INTO stolen", "QUERY_EXECUTION_ERROR"],
    ["FOR UPDATE", "SELECT * FROM tasks FOR UPDATE"],
    ["FOR SHARE", "SELECT * FROM tasks FOR SHARE"],
    [
      "a large object that is written",
      "SELECT lowrite(lo_open(1, 131072), 'x')",
      "QUERY_EXECUTION_ERROR",
    ],
    ["key hashes", "SELECT key_hash FROM api_keys"],
    ["all of api_keys", "SELECT * FROM api_keys"],
    [
      "key hashes by way of XML",
      "SELECT query_to_xml('SELECT key_hash FROM api_keys', true, true, '')",
    ],
    ["keys by way of their lookup", "SELECT * FROM find_api_key('ctm_')"],
    ["limits", "SELECT * FROM api_rate_limits"],
    ["passwords", "SELECT rolpassword FROM pg_authid"],
    ["a file", "SELECT pg_read_file('/etc/passwd')"],
    ["a file as bytes", "SELECT pg_read_binary_file('/etc/passwd')"],
    ["a folder", "SELECT pg_ls_dir('.')"],
    ["a large object from a file", "SELECT lo_import('/etc/passwd')"],
    ["hba rules", "SELECT * FROM pg_hba_file_rules"],
    ["a reload", "SELECT pg_reload_conf()"],
    ["a superuser's setting", "SELECT set_config('temp_file_limit', '-1', false)"],
  ];
  test.each(refused)("with %s is refused", async (_what, sql, code) => {
    const before = await api.database.sql("SELECT count(*), max(title) FROM tasks");
    const answer = await query({ sql });
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ code: code ?? "QUERY_NOT_ALLOWED" });
    expect(await api.database.sql("SELECT count(*), max(title) FROM tasks")).toEqual(before);
  });

  test.each([
    ["the owner", "ctm_owner"],
    ["the API", "ctm_api"],
    ["the superuser", "postgres"],
    ["the reports", "readonly_users"],
  ])("that takes the role of %s is refused", async (_what, role) => {
    const answer = await query({
      sql: `SELECT set_config('role', '${role}', false), query_to_xml('SELECT key_hash FROM api_keys', true, true, '')`,
    });
    expect(answer).toMatchObject({
      status: 400,
      body: { code: "QUERY_NOT_ALLOWED", details: { sqlstate: "42501" } },
    });
  });

  test("that leaves the role (none, or by session) reads nothing more", async () => {
    for (const role of ["none", "ctm_query"]) {
      const answer = await query({
        sql: `SELECT set_config('role', '${role}', false), query_to_xml('SELECT key_hash FROM api_keys', true, true, '')`,
      });
      expect(answer).toMatchObject({ status: 400, body: { details: { sqlstate: "42501" } } });
    }
    expect(
      await query({ sql: "SELECT set_config('session_authorization', 'postgres', false)" }),
    ).toMatchObject({
      status: 400,
    });
  });

  test("cannot make its transaction write", async () => {
    expect(
      await query({ sql: "SELECT set_config('transaction_read_only', 'off', true)" }),
    ).toMatchObject({
      status: 400,
      body: { code: "QUERY_EXECUTION_ERROR", details: { sqlstate: "25001" } },
    });
    // The role itself may write nothing: the transaction is the second lock, not the only one.
    expect(
      await api.database.sql(
        `SELECT table_name FROM information_schema.role_table_grants
         WHERE grantee IN ('ctm_query', 'PUBLIC') AND table_schema = 'public'
           AND privilege_type <> 'SELECT'`,
      ),
    ).toEqual([]);
  });

  test("leaves no setting behind for the next one", async () => {
    for (let attempt = 0; attempt < 4; attempt += 1) {
      await query({
        sql: "SELECT set_config('statement_timeout', '0', false), set_config('app.left', 'x', false)",
      });
    }
    for (let attempt = 0; attempt < 4; attempt += 1) {
      expect(
        await query({
          sql: "SELECT current_setting('statement_timeout') AS time, current_setting('app.left', true) AS left",
        }),
      ).toMatchObject({ body: { rows: [{ time: "30s", left: null }] } });
    }
  });

  test("leaves no large object, no lock and no session behind", async () => {
    // A server that was not provisioned by us may leave these to everybody.
    const open = "FUNCTION lo_create(oid), pg_advisory_lock(bigint), pg_try_advisory_lock(bigint)";
    await api.database.sql(`GRANT EXECUTE ON ${open} TO ctm_query`);
    await query({ sql: "SELECT lo_create(4711)" });
    await query({ sql: "SELECT pg_advisory_lock(4711)" });
    expect(await query({ sql: "SELECT pg_try_advisory_lock(4711) AS free" })).toMatchObject({
      body: { rows: [{ free: true }] },
    });
    await api.database.sql(`REVOKE EXECUTE ON ${open} FROM ctm_query`);
    expect(await query({ sql: "SELECT pg_advisory_lock(4711)" })).toMatchObject({ status: 400 });
    expect(await api.database.sql("SELECT oid FROM pg_largeobject_metadata")).toEqual([]);
    await waitFor("the sessions of queries to end", 5000, async () => {
      const sessions = await api.database.sql(
        "SELECT 1 FROM pg_stat_activity WHERE usename = 'ctm_query'",
      );
      return sessions.length === 0 ? true : undefined;
    });
  });

  test("that answers without end is cut off", async () => {
    expect(await query({ sql: "SELECT generate_series(1, 1000000000)" })).toMatchObject({
      status: 200,
      body: { row_count: 1000, truncated: true },
    });
    expect(await query({ sql: "SELECT generate_series(1, 1000)" })).toMatchObject({
      body: { row_count: 1000, truncated: false },
    });
  });

  test.each([
    ["one enormous value", "SELECT repeat('x', 200000000)"],
    ["many large rows", "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"],
  ])("with %s is cut off, and the service goes on", async (_what, sql) => {
    const memoryBefore = process.memoryUsage.rss();
    expect(await query({ sql })).toMatchObject({
      status: 400,
      body: { code: "QUERY_EXECUTION_ERROR", error: expect.stringContaining("8 MiB") },
    });
    expect(process.memoryUsage.rss() - memoryBefore).toBeLessThan(150_000_000);
    expect((await query({ sql: "SELECT 1" })).status).toBe(200);
  });

  test("that takes long is cancelled, and keeps nobody waiting meanwhile", async () => {
    const pools = await openPools(parseConfiguration(api.configuration, "test"), () => undefined);
    try {
      const context = {
        userId: "u",
        apiKeyId: "k",
        requestId: "r",
        clientAddress: "127.0.0.1",
        userAgent: "test",
        environment: "testing",
        statementMs: 500,
      };
      // The statement cannot lift its own limit: a new one counts from the next statement on.
      const slow = runAdminQuery(
        pools.query.readonly,
        context,
        "SELECT set_config('statement_timeout', '0', false), pg_sleep(20)",
        [],
      );
      const { key } = await api.createKey({ permissions: ["read:tasks"] });
      expect((await call(`${api.url}/api/database/tasks`, { key })).status).toBe(200);
      await expect(slow).rejects.toMatchObject({
        code: "QUERY_EXECUTION_ERROR",
        message: "The query took longer than 0.5 s.",
        details: { sqlstate: "57014" },
      });
    } finally {
      await pools.end();
    }
  });
});
