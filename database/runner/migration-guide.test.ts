import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { CtmError, run } from "#system";
import { connect, disconnect } from "./connect.ts";
import { migrationFiles } from "./migration-files.ts";
import { startScratchServer, type ScratchServer } from "./scratch-server.ts";

vi.setConfig({ testTimeout: 120_000 });

const root = fileURLToPath(new URL("../..", import.meta.url));
const fixtures = new URL("../fixtures/document/", import.meta.url);

let server: ScratchServer;
beforeAll(async () => {
  server = await startScratchServer();
});
afterAll(async () => server.stop());

interface Block {
  language: string;
  text: string;
}

/** The fenced blocks of the guide, less those marked as examples, which need an account or a person. */
async function guideBlocks(): Promise<Block[]> {
  const guide = await readFile(new URL("../../docs/migration-guide.md", import.meta.url), "utf8");
  return [...guide.matchAll(/^```(\w+)(.*)\n([^]*?)^```$/gm)]
    .filter(([, , note = ""]) => note.trim() !== "example")
    .map(([, language = "", , text = ""]) => ({ language, text }));
}

async function runBlock(block: Block, database: string): Promise<string> {
  const { host, port, user, password } = server.connection;
  const env = {
    ...process.env,
    PGHOST: host,
    PGPORT: String(port),
    PGUSER: user,
    PGPASSWORD: String(password),
    PGDATABASE: database,
    NO_COLOR: "1",
  };
  // `npx ctm` finds the Node that this test runs under already.
  const npx = `npx() { shift; "${process.execPath}" ops/cli.ts "$@"; }`;
  const script = block.language === "sql" ? "psql -X -At -v ON_ERROR_STOP=1" : block.text;
  const { stdout } = await run("bash", ["-euo", "pipefail", "-c", `${npx}\n${script}`], {
    cwd: root,
    env,
    timeoutMs: 60_000,
    ...(block.language === "sql" ? { input: block.text } : {}),
    // A plan whose lint found something says so with 3; here it matters that the files run.
    accept: block.text.includes("migrate plan") ? [0, 3] : [0],
  });
  return stdout;
}

const rows = `
  INSERT INTO tasks (id, title) SELECT uuid_generate_v4(), 'task ' || n FROM generate_series(1, 200) n;
  UPDATE tasks SET status = 'completed' WHERE title LIKE '%7';
  INSERT INTO task_contexts (task_id, context_type, context_data)
    SELECT id, 'requirement', '{}' FROM tasks;
  INSERT INTO workflow_states (workflow_id, task_id, step, status)
    SELECT 'w', id, 'build', 'running' FROM tasks LIMIT 20;`;
const counts = `
  SELECT (SELECT count(*) FROM tasks)::integer AS tasks,
         (SELECT count(*) FROM task_contexts)::integer AS contexts,
         (SELECT count(*) FROM workflow_states)::integer AS states,
         (SELECT count(*) FROM audit_logs)::integer AS audits`;

describe("docs/migration-guide.md", () => {
  const starts: [what: string, database: string, files: string[], versions: string[]][] = [
    ["a database of version 1.0", "v1", ["v1.sql", "v1_writable.sql"], ["001"]],
    [
      "one that was brought to 2.0 by hand",
      "v2",
      ["v1.sql", "v1_writable.sql", "v2.sql"],
      ["001", "002"],
    ],
  ];
  it.each(starts)("works on %s", async (_what, database, files, versions) => {
    const admin = await connect(server.connection, "test");
    await admin.query(`CREATE DATABASE ${database}`);
    await disconnect(admin);
    const client = await connect(server.database(database), "test");
    for (const file of files) await client.query(await readFile(new URL(file, fixtures), "utf8"));
    await client.query(rows);
    const before = (await client.query<Record<string, number>>(counts)).rows[0];
    await disconnect(client);

    const blocks = await guideBlocks();
    const said = new Map<string, string>();
    for (const block of blocks) {
      if (block.language === "json") JSON.parse(block.text);
      else said.set(block.text.trim(), await runBlock(block, database));
    }

    const found = (name: string): string =>
      [...said].find(([command]) => command.includes(name))?.[1] ?? "";
    const status = found("migrate status");
    for (const version of versions) {
      expect(status).toMatch(new RegExp(`^${version} .*found applied$`, "m"));
    }
    expect(found("migrate up")).toContain(`taken over: ${versions.join(", ")}\n`);
    const numbered = (await migrationFiles()).filter(({ kind }) => kind === "numbered");
    const listed = found("FROM schema_migrations").trim().split("\n");
    expect(listed).toHaveLength(numbered.length);
    expect(listed[0]).toMatch(new RegExp(`^${numbered.at(-1)?.version ?? ""}\\|`));
    expect(found("migrate verify")).toMatch(/^The schema is what the migrations make, at \d+\.\n$/);

    const after = await connect(server.database(database), "test");
    const kept = (await after.query<Record<string, number>>(counts)).rows[0];
    await disconnect(after);
    expect(kept?.["tasks"]).toBe(before?.["tasks"]);
    expect(kept?.["contexts"]).toBe(before?.["contexts"]);
    expect(kept?.["states"]).toBe(before?.["states"]);
    expect(kept?.["audits"]).toBeGreaterThanOrEqual(before?.["audits"] ?? 0);
  });

  it("would notice a command that fails", async () => {
    const block = { language: "sh", text: "npx ctm migrate verify --url postgresql:///nowhere" };
    await expect(runBlock(block, "postgres")).rejects.toBeInstanceOf(CtmError);
  });
});
