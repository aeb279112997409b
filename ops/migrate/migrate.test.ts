import { userInfo } from "node:os";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import {
  connect,
  disconnect,
  makeFreshDatabase,
  migrationFiles,
  startScratchServer,
  type ScratchServer,
} from "#database";
import type { Entry } from "../commands.ts";
import { runCommand } from "../testing/run-command.ts";
import { startScratchStack } from "../testing/scratch-stack.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const entries: Entry[] = [
  { name: "migrate status", summary: "lists", load: () => import("./status.ts") },
  { name: "migrate plan", summary: "plans", load: () => import("./plan.ts") },
  { name: "migrate up", summary: "applies", load: () => import("./up.ts") },
  { name: "migrate verify", summary: "verifies", load: () => import("./verify.ts") },
];

let server: ScratchServer;
beforeAll(async () => {
  server = await startScratchServer();
});
afterAll(async () => server.stop());

async function ctm(
  line: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number; out: string; err: string }> {
  return await runCommand(line.split(" "), env, entries);
}

async function sql(database: string, text: string): Promise<void> {
  const client = await connect(server.database(database), "test");
  await client.query(text);
  await disconnect(client);
}

function url(database: string): string {
  const { host, password } = server.connection;
  return `--url postgresql://postgres:${String(password)}@/${database}?host=${String(host)}`;
}

test("from nothing to verified, and a change by hand is named", async () => {
  // Up to 002 by select, the rest by the command.
  await makeFreshDatabase(server, "live", {
    select: ({ version }) => version === "001" || version === "002",
  });
  const files = await migrationFiles();
  const target = url("live");

  const before = await ctm(`migrate status ${target} --json`);
  expect(before.err).toBe("");
  expect(before.code).toBe(0);
  expect(JSON.parse(before.out)).toMatchObject({
    schema_version: "002",
    applied: [{ version: "001" }, { version: "002" }],
    pending: files.slice(2).map(({ name, sha256 }) => ({ name, sha256 })),
    edited: [],
    missing: [],
  });

  const plan = await ctm(`migrate plan ${target}`);
  expect(plan.out).toMatch(
    new RegExp(`^${files.length - 2} files? pending after 002, tried on a copy of the database\n`),
  );

  const up = await ctm(`migrate up ${target} --json`);
  expect(up.code).toBe(0);
  expect(JSON.parse(up.out)).toMatchObject({
    applied: files.slice(2).map(({ name }) => ({ name, attempts: 1 })),
    adopted: [],
  });
  expect(await ctm(`migrate up ${target}`)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^Nothing was pending; the schema is at \d+\.\n$/),
  });
  expect(await ctm(`migrate plan ${target}`)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^Nothing is pending; the schema is at \d+\.\n$/),
  });
  expect((await ctm(`migrate status ${target}`)).out).toMatch(
    /\n001 +initial schema +\S+Z +\d+ +\S+ +applied\n[^]*\nNothing is pending\. next: ctm migrate verify\n$/,
  );

  expect(await ctm(`migrate verify ${target}`)).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^The schema is what the migrations make, at \d+\.\n$/),
  });
  await sql("live", "ALTER TABLE webhook_events DROP COLUMN response_data");
  const drifted = await ctm(`migrate verify ${target}`);
  expect(drifted).toMatchObject({
    code: 3,
    out: `1 difference

column public.webhook_events.response_data is missing

next: undo the change by hand, or make it a migration: ctm migrate new NAME
`,
  });
});

test("the stack is reached as ctm_migrator, which may neither copy nor make databases", async () => {
  const stack = await startScratchStack();
  try {
    const [first, ...others] = await migrationFiles();
    const begun = await ctm(`migrate up --target ${String(first?.version)}`, stack.env);
    expect(begun.code).toBe(0);
    const plan = await ctm("migrate plan --json", stack.env);
    expect(JSON.parse(plan.out)).toMatchObject({
      schema_version: first?.version,
      tried_on: "schema",
      tried_on_reason: "ctm_migrator may not create databases",
      files: others.map(({ name }) => ({ name })),
      failure: null,
    });
    expect((await ctm("migrate up", stack.env)).code).toBe(0);
    expect(await ctm("migrate verify", stack.env)).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^The schema is what the migrations make/),
    });
    const ledger = await stack.sql(
      "SELECT DISTINCT actor, git_revision ~ '^[0-9a-f]{40}(-dirty)?$' FROM schema_migrations",
      "taskmaster",
    );
    expect(ledger).toBe(`${userInfo().username}|t`);
  } finally {
    await stack.stop();
  }
});

test("a server without our roles is told of roles.sql", async () => {
  const bare = await startScratchServer();
  try {
    const { host, password } = bare.connection;
    const { code, err } = await ctm(
      `migrate up --url postgresql://postgres:${String(password)}@/postgres?host=${String(host)}`,
    );
    expect(code).toBe(1);
    expect(err).toBe(
      `role-missing: the role ctm_owner does not exist on ${String(host)}/.s.PGSQL.5432 (database postgres, user postgres)
next: apply database/roles.sql as a superuser, then run this again
`,
    );
  } finally {
    await bare.stop();
  }
});

test("something that is no URL is wrong usage", async () => {
  expect(await ctm("migrate status --url taskmaster")).toEqual({
    code: 2,
    out: "",
    err: "bad-usage: --url is no URL such as postgresql://ctm_migrator@host:5432/taskmaster\nnext: ctm migrate status --help\n",
  });
});
