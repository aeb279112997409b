import { spawn, type ChildProcess } from "node:child_process";
import { readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { provisioningOf, superuserSettings } from "../../infra/postgres/connection.ts";
import { waitFor } from "#system";
import { checkout, execute, Home, mustSucceed, type Ended } from "./home.ts";

/*
 * Ten runs of `up`, each killed with kill -9 at another moment, on one stack. After each, the next
 * run must finish without hand work, and no row may be lost.
 */

let home: Home;
let rows = 0;

beforeAll(async () => {
  home = await Home.create();
});

afterAll(async () => {
  await home.end();
});

interface Round {
  what: string;
  /** Makes work for the run that will be killed. */
  arrange?: () => Promise<unknown>;
  /** Keeps an operation of the run from ending until it was killed. */
  hold?: { table: string };
  /** Type of the resource that must be pending when the kill comes. */
  pending?: string;
  /** Milliseconds after the start, where no pending operation decides the moment. */
  afterMs?: number;
  victim: "npm" | "everything";
  /** The next run is started in a shell for plain pulumi, where the backend is exported. */
  toldShell?: true;
}

const rounds: Round[] = [
  {
    what: "the first run, while a service starts",
    pending: "ctm:local:Service",
    victim: "everything",
  },
  { what: "the first run, npm alone", afterMs: 4_000, victim: "npm" },
  {
    what: "while a role is created",
    arrange: async () => {
      await home.must("up");
      await home.superuser("DROP OWNED BY ctm_monitor; DROP ROLE ctm_monitor");
    },
    hold: { table: "pg_authid" },
    pending: "postgresql:index/role:Role",
    victim: "everything",
    toldShell: true,
  },
  {
    what: "while the database is created",
    arrange: async () => {
      await home.superuser("DROP DATABASE taskmaster WITH (FORCE)", "postgres");
    },
    hold: { table: "pg_database" },
    pending: "postgresql:index/database:Database",
    victim: "everything",
  },
  { what: "at once", afterMs: 300, victim: "everything" },
  { what: "while Pulumi looks", afterMs: 3_000, victim: "everything" },
  {
    what: "while a role is created, npm alone",
    arrange: async () => {
      await home.superuser("DROP OWNED BY ctm_query; DROP ROLE ctm_query");
    },
    afterMs: 5_000,
    victim: "npm",
  },
  {
    what: "while a service is repaired",
    arrange: async () => {
      const { supervisor } = await home.descriptor();
      await rm(join(supervisor.programs, "proxy.conf"));
    },
    afterMs: 7_000,
    victim: "everything",
  },
  {
    what: "while secrets and certificates are repaired",
    arrange: async () => {
      await rm(join(home.paths.credentials, "ctm_monitor"));
      await rm(join(home.paths.tls, "provisioning.crt"));
    },
    afterMs: 6_000,
    victim: "everything",
  },
  { what: "near the end", afterMs: 9_000, victim: "everything" },
];

describe("a run that is killed", () => {
  it.each(rounds)("$what", { timeout: 420_000 }, async (round) => {
    await round.arrange?.();
    const holder = round.hold === undefined ? undefined : await holdTable(round.hold.table);
    const run = spawn("npm", ["run", "up"], {
      cwd: checkout,
      env: home.env,
      detached: true,
      stdio: "ignore",
    });
    try {
      if (round.pending === undefined) await delay(round.afterMs ?? 0);
      else await waitForPending(round.pending, run);
      await kill(run, round.victim);
    } finally {
      await holder?.end();
    }
    const expected = round.pending === undefined ? [] : [round.pending];
    expect(await pendingTypes()).toEqual(expect.arrayContaining(expected));

    const next = round.toldShell === true ? await upInToldShell() : await home.ctm("up");
    mustSucceed("npm run up after the kill", next);
    expect(await home.json("up")).toMatchObject({ changes: 0 });
    if (round.hold?.table === "pg_database") rows = 0;
    await home.owner(`INSERT INTO tasks (title) VALUES ('round ${rows + 1}')`);
    rows += 1;
    const counted = await home.owner("SELECT count(*)::int AS tasks FROM tasks");
    expect(counted.rows).toEqual([{ tasks: rows }]);
  });
});

async function upInToldShell(): Promise<Ended> {
  const script = 'eval "$(node bin/ctm env)" && exec node bin/ctm up';
  return await execute("bash", ["-c", script], { cwd: checkout, env: home.env });
}

/** Blocks writers of a system catalog, and so CREATE ROLE or CREATE DATABASE. */
async function holdTable(table: string): Promise<Client> {
  const client = new Client(
    await superuserSettings(provisioningOf(await home.descriptor()), "postgres"),
  );
  client.on("error", () => undefined);
  await client.connect();
  await client.query("BEGIN");
  await client.query(`LOCK TABLE pg_catalog.${table} IN SHARE MODE`);
  return client;
}

async function pendingTypes(): Promise<string[]> {
  const folder = join(home.paths.pulumi, "backend/.pulumi/stacks/ctm");
  for (const name of await readdir(folder).catch(() => [])) {
    if (name !== `${home.stack}.json`) continue;
    const text = await readFile(join(folder, name), "utf8");
    const state = JSON.parse(text) as {
      checkpoint: { latest?: { pending_operations?: { resource: { type: string } }[] } };
    };
    return (state.checkpoint.latest?.pending_operations ?? []).map(({ resource }) => resource.type);
  }
  return [];
}

async function waitForPending(type: string, run: ChildProcess): Promise<void> {
  await waitFor(
    `${type} to be pending`,
    180_000,
    async () => {
      if (run.exitCode !== null) throw new Error(`the run ended with ${run.exitCode}`);
      return (await pendingTypes()).includes(type) ? true : undefined;
    },
    { intervalMs: 20 },
  );
}

/** kill -9 of npm alone, or of it and everything that descends from it. */
async function kill(run: ChildProcess, victim: Round["victim"]): Promise<void> {
  const pid = run.pid;
  if (pid === undefined) throw new Error("npm did not start");
  const victims = victim === "npm" ? [pid] : [pid, ...(await descendants(pid))];
  for (const each of victims) {
    try {
      process.kill(each, "SIGKILL");
    } catch {
      // Ended by itself meanwhile.
    }
  }
  await waitFor("npm to be gone", 10_000, () =>
    run.exitCode !== null || run.signalCode !== null ? true : undefined,
  );
}

/** Services of the stack excepted: they run under supervisord, which init adopted. */
async function descendants(root: number): Promise<number[]> {
  const children = new Map<number, number[]>();
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const status = await readFile(`/proc/${entry}/status`, "utf8").catch(() => "");
    const parent = Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
    if (Number.isInteger(parent)) {
      children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
    }
  }
  const found: number[] = [];
  const visit = (pid: number): void => {
    for (const child of children.get(pid) ?? []) {
      found.push(child);
      visit(child);
    }
  };
  visit(root);
  return found;
}
