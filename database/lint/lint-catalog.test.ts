import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, disconnect } from "../runner/connect.ts";
import { parseMigration } from "../runner/migration-files.ts";
import { startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";
import { catalogRules } from "./catalog-rules.ts";
import { describeFinding, type LintException, type LintFinding } from "./finding.ts";
import { lintCatalog } from "./lint-catalog.ts";

/** For each rule, SQL that breaks it and nothing else, the objects found, and SQL that mends it. */
const cases: Record<string, { broken: string; found: string[]; mended: string }> = {
  "row-security-without-policy": {
    broken: "ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY",
    found: ["public.t"],
    mended: "CREATE POLICY p ON t USING (true)",
  },
  "row-security-not-forced": {
    broken: "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true)",
    found: ["public.t"],
    mended: "ALTER TABLE t FORCE ROW LEVEL SECURITY",
  },
  "policy-without-row-security": {
    broken: "CREATE POLICY p ON t USING (true)",
    found: ["public.t"],
    mended: "DROP POLICY p ON t",
  },
  "view-without-security-invoker": {
    broken:
      "CREATE VIEW v AS SELECT id FROM t; CREATE VIEW w WITH (security_invoker = off) AS SELECT id FROM t",
    found: ["public.v", "public.w"],
    mended: "ALTER VIEW v SET (security_invoker = on); ALTER VIEW w SET (security_invoker = true)",
  },
  "materialized-view-of-guarded-table": {
    broken: `CREATE MATERIALIZED VIEW m AS SELECT a.id FROM t a JOIN u USING (id);
      ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
      CREATE POLICY p ON t USING (true)`,
    found: ["public.m"],
    mended: "DROP MATERIALIZED VIEW m",
  },
  "security-definer-without-search-path": {
    broken: `CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
      REVOKE ALL ON FUNCTION f FROM PUBLIC`,
    found: ["public.f()"],
    mended: "ALTER FUNCTION f SET search_path = ''",
  },
  "security-definer-with-temporary-objects": {
    broken: `CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = public AS 'SELECT 1';
      REVOKE ALL ON FUNCTION f FROM PUBLIC`,
    found: ["public.f()"],
    mended: "ALTER FUNCTION f SET search_path = pg_catalog, public, pg_temp",
  },
  "granted-to-public": {
    broken: `GRANT SELECT ON t TO PUBLIC; GRANT UPDATE (id) ON u TO PUBLIC;
      CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
      CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'`,
    found: ["public.f(integer)", "public.t", "public.u.id"],
    mended: `REVOKE SELECT ON t FROM PUBLIC; REVOKE UPDATE (id) ON u FROM PUBLIC;
      REVOKE ALL ON FUNCTION f FROM PUBLIC`,
  },
  "foreign-key-without-index": {
    broken: `CREATE TABLE c (id int PRIMARY KEY, a int, t int CONSTRAINT c_t REFERENCES t (id));
      CREATE INDEX c_wrong ON c (a, t)`,
    found: ["public.c.c_t"],
    mended: "CREATE INDEX c_right ON c (t, a) WHERE t IS NOT NULL",
  },
  "timestamp-without-time-zone": {
    broken: "ALTER TABLE t ADD at timestamp",
    found: ["public.t.at"],
    mended: "ALTER TABLE t ALTER at TYPE timestamptz",
  },
  "table-without-primary-key": {
    broken: "CREATE TABLE n (id int NOT NULL)",
    found: ["public.n"],
    mended: "ALTER TABLE n ADD PRIMARY KEY (id)",
  },
  "invalid-index": {
    broken: `CREATE INDEX i ON t (id) WHERE id > 5;
      UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass`,
    found: ["public.i"],
    mended: "DROP INDEX i",
  },
  "constraint-not-validated": {
    broken: "ALTER TABLE t ADD CONSTRAINT small CHECK (id < 9) NOT VALID",
    found: ["public.t.small"],
    mended: "ALTER TABLE t VALIDATE CONSTRAINT small",
  },
  "duplicate-index": {
    broken: "CREATE INDEX one ON t (lower(name)); CREATE INDEX two ON t (lower(name))",
    found: ["public.two"],
    mended: "DROP INDEX one; CREATE INDEX one ON t (lower(name), id)",
  },
};

let server: ScratchServer;
beforeAll(async () => {
  server = await startScratchServer();
});
afterAll(async () => server.stop());

let count = 0;
async function lint(
  sql: string,
  options: Parameters<typeof lintCatalog>[1] = {},
): Promise<LintFinding[]> {
  const name = `d${(count += 1)}`;
  const admin = await connect(server.connection, "test");
  await admin.query(`CREATE DATABASE ${name}`);
  await disconnect(admin);
  const client = await connect(server.database(name), "test");
  try {
    await client.query(
      "CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE u (id int PRIMARY KEY)",
    );
    await client.query(sql);
    return await lintCatalog(client, { exceptions: [], ...options });
  } finally {
    await disconnect(client);
  }
}

describe("lintCatalog", () => {
  it("has a case for each rule", () => {
    expect(Object.keys(cases)).toEqual(catalogRules.map((rule) => rule.name));
  });

  it.for(catalogRules)("finds $name, and nothing once it is mended", async (rule, { skip }) => {
    skip(server.version * 10_000 < (rule.since ?? 0), "this server has no such thing");
    const example = cases[rule.name] ?? { broken: "", found: [], mended: "" };
    const found = await lint(example.broken);
    expect(found.map((finding) => [finding.rule, finding.object])).toEqual(
      example.found.map((object) => [rule.name, object]),
    );
    expect(await lint(`${example.broken}; ${example.mended}`)).toEqual([]);
  });

  it("says where the object comes from", async () => {
    const sql = "-- why\nCREATE TABLE t2 (\n  id int\n);\nALTER TABLE\n  t2 ADD x int;\n";
    const path = "/m/001_t2.sql";
    const file = parseMigration({
      path,
      name: "001_t2.sql",
      kind: "numbered",
      bytes: Buffer.from(sql),
    });
    const [finding] = await lint(sql, { files: [file] });
    expect(finding === undefined ? "" : describeFinding(finding)).toBe(
      "/m/001_t2.sql:6: error: public.t2 has no primary key, so no row of it can be named (table-without-primary-key)\n  add one",
    );
  });

  it("accepts exceptions with a reason, and names those that are not needed", async () => {
    const exceptions: LintException[] = [
      { rule: "table-without-primary-key", object: "public.n_*", reason: "a queue" },
      { rule: "timestamp-without-time-zone", object: "public.n_1.at", reason: "not so" },
    ];
    const found = await lint("CREATE TABLE n_1 (at timestamptz)", { exceptions });
    expect(found.map(describeFinding)).toEqual([
      "warning: the exception of public.n_1.at from timestamp-without-time-zone is not needed (unused-exception)\n  remove it from database/lint/exceptions.ts",
    ]);
  });
});
