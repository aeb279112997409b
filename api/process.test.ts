import { spawn, type ChildProcess } from "node:child_process";
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "#system";
import { bundleApi } from "./build.ts";
import { call, startTestApi, type TestApi, type TestKey } from "./testing/api.ts";

/** As root the service runs as nobody, which can read neither the checkout nor the database. */
const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined;

interface Process {
  child: ChildProcess;
  url: string;
  output: () => string;
  errors: () => string;
  ended: Promise<number | null>;
}

let api: TestApi;
let admin: TestKey;
let folder: string;
const running: Process[] = [];

beforeAll(async () => {
  api = await startTestApi();
  admin = await api.createKey({ permissions: ["admin"] });
  folder = await mkdtemp(join(tmpdir(), "ctm-api-process-"));
  await chmod(folder, 0o755);
  await writeFile(join(folder, "main.mjs"), (await bundleApi()).code);
  for (const role of ["ctm_api", "ctm_query"] as const) {
    await own(role, `${api.database.passwords[role]}\n`);
  }
});
afterEach(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill("SIGKILL");
    await ended;
  }
});
afterAll(async () => {
  await api.stop();
  await rm(folder, { recursive: true });
});

/** Writes a file that only the service's user can read. */
async function own(name: string, content: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content, { mode: 0o600 });
  if (nobody !== undefined) await chown(path, nobody.uid, nobody.gid);
  return path;
}

function configuration(changes: object = {}): object {
  const { database, query } = api.configuration;
  return {
    ...api.configuration,
    logLevel: "info",
    database: { ...database, passwordFile: join(folder, "ctm_api"), ...changes },
    query: { ...query, passwordFile: join(folder, "ctm_query") },
  };
}

async function launch(content: object): Promise<Process> {
  const config = await own("api.json", JSON.stringify(content));
  const child = spawn(process.execPath, [join(folder, "main.mjs"), "--config", config], {
    cwd: "/",
    env: {},
    stdio: ["ignore", "pipe", "pipe"],
    ...nobody,
  });
  let output = "";
  let errors = "";
  child.stdout.on("data", (chunk) => (output += String(chunk)));
  child.stderr.on("data", (chunk) => (errors += String(chunk)));
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  const made = { child, url: "", output: () => output, errors: () => errors, ended };
  running.push(made);
  return made;
}

async function listening(made: Process): Promise<Process> {
  made.url = await waitFor("the process to listen", 10_000, () => {
    return /"url":"([^"]+)".*"listening"/.exec(made.output())?.[1];
  });
  return made;
}

describe("the process", () => {
  test("serves, logs JSON lines without secrets, and ends when asked to", async () => {
    const service = await listening(await launch(configuration()));
    const secret = "hunter-2-hunter";
    const answer = await call(`${service.url}/api/database/tasks?key=${admin.key}`, {
      headers: { authorization: `Bearer ${admin.key}` },
      body: { title: `about ${admin.key}`, metadata: { password: secret } },
    });
    expect(answer.status).toBe(201);
    await call(`${service.url}/${admin.key}`, { key: admin.key });
    await call(`${service.url}/api/database/query`, {
      key: admin.key,
      body: { sql: `SELECT '${admin.key}'::int, $1`, params: [secret] },
    });
    service.child.kill("SIGTERM");
    expect(await service.ended).toBe(0);
    expect(service.errors()).toBe("");
    const lines = service.output().trim().split("\n");
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ service: "ctm-api" });
    expect(service.output()).toContain('"endpoint":"/api/database/tasks"');
    for (const word of [admin.key.slice(4), secret, ...Object.values(api.database.passwords)]) {
      expect(service.output()).not.toContain(word);
    }
    // The last requests are in the access log although the process has ended right after them.
    const logged = await api.database.sql<Record<string, unknown>>(
      "SELECT api_access_logs::text FROM api_access_logs WHERE request_body IS NOT NULL",
    );
    expect(logged).toHaveLength(2);
    expect(JSON.stringify(logged)).not.toContain(admin.key.slice(4));
    expect(JSON.stringify(logged)).not.toContain(secret);
  });

  const cutOff = "requests under way were cut off";
  /** Starts a query that waits until the test's transaction ends, which keeps a table locked. */
  async function startStuckQuery({ url }: Process): Promise<{ answer: Promise<unknown> }> {
    await api.database.sql("BEGIN");
    await api.database.sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE");
    const answer = call(`${url}/api/database/query`, {
      key: admin.key,
      body: { sql: "SELECT id FROM tasks" },
    }).catch((error: unknown) => error);
    await waitFor("the query to wait", 10_000, async () =>
      (await api.database.sql("SELECT 1 FROM pg_locks WHERE NOT granted")).length > 0
        ? true
        : undefined,
    );
    return { answer };
  }

  test("finishes what is under way before it ends", async () => {
    const service = await listening(await launch(configuration()));
    const slow = await startStuckQuery(service);
    service.child.kill("SIGTERM");
    service.child.kill("SIGTERM");
    await waitFor("new connections to be refused", 5000, async () =>
      (await fetch(service.url).catch(() => undefined)) === undefined ? true : undefined,
    );
    await api.database.sql("ROLLBACK");
    expect(await slow.answer).toMatchObject({ status: 200 });
    expect(await service.ended).toBe(0);
    // The client would have kept its connection open: the server does not wait for that.
    expect(service.output()).not.toContain(cutOff);
  });

  test("ends whatever is under way", async () => {
    const service = await listening(await launch(configuration()));
    const stuck = await startStuckQuery(service);
    service.child.kill("SIGTERM");
    expect(await service.ended).toBe(0);
    expect(service.output()).toContain(cutOff);
    expect(await stuck.answer).toBeInstanceOf(Error);
    await api.database.sql("ROLLBACK");
  });

  test("says clearly what is wrong with its configuration", async () => {
    const service = await launch({ ...configuration(), pool: {} });
    expect(await service.ended).toBe(2);
    expect(service.errors()).toMatch(/^bad-configuration: .*api\.json: pool: unknown key\nnext: /);
    expect(service.output()).toBe("");
  });

  test("says clearly when its port is taken", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const service = await launch({ ...configuration(), listen: address });
    // An address of Node has the family beside host and port.
    expect(await service.ended).toBe(2);
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const again = await launch({ ...configuration(), listen: { host: "127.0.0.1", port } });
    expect(await again.ended).toBe(1);
    expect(again.errors()).toMatch(/^cannot-listen: .*EADDRINUSE.*\nnext: /);
    await new Promise((resolve) => server.close(resolve));
  });
});

test("the process says clearly which file it cannot read", async () => {
  const none = join(folder, "none");
  for (const key of ["authority", "passwordFile"]) {
    const service = await launch(configuration({ [key]: none }));
    expect(await service.ended).toBe(2);
    expect(service.errors()).toMatch(
      new RegExp(`^bad-configuration: database\\.${key}: .*none.*\\nnext: .*\\n$`),
    );
  }
});
