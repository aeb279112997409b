import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { run, waitFor } from "#system";
import { startScratchStack, type ScratchStack } from "./testing/scratch-stack.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/** Commands as a person runs them, on a real server and repository; only Patroni is played. */
let stack: ScratchStack;
beforeAll(async () => {
  stack = await startScratchStack();
  stack.patroni["/cluster"] = { members: [{ name: "node-1", role: "leader" }] };
  stack.patroni["/patroni"] = {
    state: "running",
    role: "master",
    timeline: 1,
    server_version: 150018,
    xlog: { location: 5000 },
  };
});
afterAll(async () => {
  await stack.stop();
});

const cli = [
  "--disable-warning=ExperimentalWarning",
  fileURLToPath(new URL("cli.ts", import.meta.url)),
];

async function ctm(
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<{ code: number | null; out: string; err: string }> {
  const { code, stdout, stderr } = await run(process.execPath, [...cli, ...args], {
    cwd: "/",
    env: { ...stack.env, ...options.env },
    ...(options.input === undefined ? {} : { input: options.input }),
    accept: [0, 1, 2, 3, 7, 130],
  });
  return { code, out: stdout, err: stderr };
}

describe("psql", () => {
  const ask = ["--", "-X", "-A", "-t", "-c"];
  const who = "SELECT session_user, current_user, current_setting('default_transaction_read_only')";

  test.each([
    [[], "ctm_migrator|ctm_owner|off"],
    [["--read-only"], "ctm_migrator|ctm_owner|on"],
    [["--role", "ctm_monitor"], "ctm_monitor|ctm_monitor|off"],
    [["--role", "readonly_users", "--read-only"], "postgres|readonly_users|on"],
    [["--role", "postgres"], "postgres|postgres|off"],
  ])("psql %j is who it should be", async (flags, expected) => {
    expect(await ctm(["psql", ...flags, ...ask, who])).toEqual({
      code: 0,
      out: `${expected}\n`,
      err: "",
    });
  });

  test("nothing of the caller's surroundings leads elsewhere", async () => {
    const env = {
      PGHOST: "/nowhere",
      PGOPTIONS: "-c role=postgres",
      PGSSLMODE: "disable",
      PGSERVICE: "other",
      TZ: "Asia/Tokyo",
      LC_ALL: "tr_TR.UTF-8",
    };
    const ssl = "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    const { out } = await ctm(["psql", "--role", "ctm_monitor", ...ask, ssl], { env });
    expect(out).toBe("ctm_monitor|t\n");
  });

  test("psql's exit code, input and errors come through", async () => {
    const broken = await ctm(["psql", "--", "-X", "-v", "ON_ERROR_STOP=1"], {
      input: "SELECT 1/0;",
    });
    expect(broken).toEqual({ code: 3, out: "", err: "ERROR:  division by zero\n" });
    expect((await ctm(["psql", "--role", "nobody_here", ...ask, "SELECT 1"])).code).toBe(2);
  });

  test("with --json its output is one document", async () => {
    const { code, out } = await ctm(["psql", "--json", ...ask, "SELECT 1; SELECT 'ü'"]);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ exit_code: 0, output: "1\nü\n" });
  });

  test("a signal reaches psql, which cancels its statement", async () => {
    const child = spawn(process.execPath, [...cli, "psql", ...ask, "SELECT pg_sleep(60)"], {
      env: stack.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let err = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    await waitFor("the statement to run", 10_000, async () =>
      (await stack.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'",
      )) === "1"
        ? true
        : undefined,
    );
    child.kill("SIGINT");
    expect(await once(child, "close")).toEqual([1, null]);
    expect(err).toContain("canceling statement due to user request");
  });
});

describe("key", () => {
  test("without a schema the next step is named", async () => {
    expect(await ctm(["key", "list"])).toEqual({
      code: 1,
      out: "",
      err: 'schema-missing: the schema is not there yet: relation "public.api_keys" does not exist\nnext: ctm migrate up\n',
    });
  });

  test("a key is shown once, found by its prefix, replaced and revoked", async () => {
    await stack.sql(
      `SET ROLE ctm_owner;
       CREATE TABLE api_keys (
         id uuid PRIMARY KEY DEFAULT uuid_generate_v4(), key_name varchar(255) NOT NULL,
         key_hash varchar(255) NOT NULL UNIQUE, key_prefix varchar(20) NOT NULL,
         user_id varchar(255) NOT NULL, permissions jsonb NOT NULL DEFAULT '[]',
         rate_limit_per_hour integer DEFAULT 1000, rate_limit_per_day integer DEFAULT 10000,
         allowed_ips jsonb DEFAULT '[]', allowed_endpoints jsonb DEFAULT '[]',
         expires_at timestamptz, last_used_at timestamptz, usage_count integer DEFAULT 0,
         is_active boolean DEFAULT true, created_at timestamptz DEFAULT now(),
         updated_at timestamptz DEFAULT now(), metadata jsonb DEFAULT '{}');
       CREATE FUNCTION generate_api_key(varchar, varchar, jsonb, integer, integer DEFAULT 365)
         RETURNS TABLE (id uuid, key text) LANGUAGE plpgsql AS $$
         DECLARE made text := 'ctm_' || encode(gen_random_bytes(32), 'hex');
         BEGIN RETURN QUERY INSERT INTO api_keys
           (key_name, key_hash, key_prefix, user_id, permissions, rate_limit_per_hour, expires_at)
           VALUES ($1, encode(digest(made, 'sha256'), 'hex'), left(made, 20), $2, $3, $4,
                   now() + make_interval(days => $5)) RETURNING api_keys.id, made; END $$;`,
      "taskmaster",
    );
    const made = await ctm(
      "key create --json --name ci --user robot --permission read:tasks --permission write:tasks --rate-limit-hour 5 --rate-limit-day 50 --expires 30d --allow-ip 10.0.0.0/8 --endpoint /api/database/*".split(
        " ",
      ),
    );
    expect(made).toMatchObject({ code: 0, err: "" });
    const { id, key } = JSON.parse(made.out);
    expect(key).toMatch(/^ctm_[0-9a-f]{64}$/);

    const listed = JSON.parse((await ctm(["key", "list", "--json"])).out);
    expect(listed.keys).toEqual([
      {
        id,
        name: "ci",
        user: "robot",
        prefix: key.slice(0, 20),
        state: "active",
        permissions: ["read:tasks", "write:tasks"],
        rate_limit_hour: 5,
        rate_limit_day: 50,
        allowed_ips: ["10.0.0.0/8"],
        allowed_endpoints: ["/api/database/*"],
        created_at: expect.any(String),
        expires_at: expect.any(String),
        last_used_at: null,
      },
    ]);
    const lifetime = Date.parse(listed.keys[0].expires_at) - Date.parse(listed.keys[0].created_at);
    expect(lifetime).toBe(30 * 86_400_000);

    expect(await ctm(["key", "rotate", key.slice(0, 20)])).toMatchObject({ code: 2, out: "" });
    const rotated = await ctm([
      "key",
      "rotate",
      key.slice(0, 20),
      "--overlap",
      "1h",
      "--yes",
      "--json",
    ]);
    const second = JSON.parse(rotated.out);
    expect(second.replaced.id).toBe(id);
    expect(Date.parse(second.replaced.works_until)).toBeLessThanOrEqual(Date.now() + 3_600_000);
    expect(second.key).not.toBe(key);

    const revoked = JSON.parse((await ctm(["key", "revoke", second.id, "--yes", "--json"])).out);
    expect(revoked).toMatchObject({ changed: true, key: { state: "revoked", rate_limit_day: 50 } });
    const again = JSON.parse((await ctm(["key", "revoke", second.id, "--json"])).out);
    expect(again.changed).toBe(false);
    expect((await ctm(["key", "rotate", second.id, "--yes"])).err).toMatch(
      /^key-not-active: "ci" \(/,
    );
    expect((await ctm(["key", "revoke", "ctm_0123456789abcdef", "--yes"])).err).toBe(
      "no-such-key: there is no API key ctm_0123456789abcdef\nnext: ctm key list\n",
    );
  });

  test("bad input is refused as a whole before the database is asked", async () => {
    const { code, err } = await ctm(
      "key create --user robot --permission all --rate-limit-hour 0 --expires tomorrow --allow-ip here --endpoint tasks".split(
        " ",
      ),
      { env: { CTM_HOME: "/nonexistent" } },
    );
    expect(code).toBe(2);
    expect(err).toBe(
      `bad-usage: --name is missing; --permission "all" is not one of read:tasks, write:tasks, read:metrics, admin; --rate-limit-hour "0" is not a whole number from 1 to 2147483647; --expires "tomorrow" is not never, a duration such as 90d, or a time with its zone such as 2031-03-02T02:00:00Z; --allow-ip "here" is no IP address and no range such as 10.0.0.0/8; --endpoint "tasks" is no endpoint such as /api/database/tasks, "GET /api/database/tasks/{id}" or /api/database/*\nnext: ctm key create --help\n`,
    );
  });
});

describe("backup", () => {
  test("before the first one, status says so", async () => {
    const { code, out } = await ctm(["status", "--json"]);
    expect(code).toBe(3);
    const status = JSON.parse(out);
    expect(status.problems.map((problem: { code: string }) => problem.code)).toEqual([
      "supervisor-unreachable",
      "no-full-backup",
      "api-not-ready",
    ]);
    expect((await ctm(["backup", "list"])).out).toBe(
      "there is no backup yet\n\nnext: ctm backup full\n",
    );
  });

  test("a full one, then one that builds on it, read back and listed", async () => {
    const full = JSON.parse((await ctm(["backup", "full", "--json"])).out);
    expect(full).toMatchObject({ type: "full", repository: 1, prior: null, damaged: false });
    const next = JSON.parse((await ctm(["backup", "--json"])).out);
    expect(next).toMatchObject({ type: "incr", prior: full.label });

    const list = JSON.parse((await ctm(["backup", "list", "--json"])).out);
    // The only member there is.
    const [one, two] = list.backups;
    expect([full, next]).toEqual([
      { ...one, copied_from: "node-1" },
      { ...two, copied_from: "node-1" },
    ]);
    expect(list.recoverable_from).toBe(full.stopped_at);
    expect(Date.parse(list.recoverable_to)).toBeGreaterThan(Date.parse(full.stopped_at));
    const { out } = await ctm(["backup", "list"]);
    expect(out).toContain(`\n└ ${next.label}  incr  `);
    expect(out).toMatch(/^├F─*I─*┤$/m);
    expect(list).toMatchObject({
      objectives: {
        rpo_ms: 900_000,
        unarchived_ms: 60_000,
        rto_ms: 1_800_000,
        restore_ms: expect.any(Number),
      },
      schedule: { full_at: "02:00", incremental_minutes: 60, derived: true },
      warnings: [],
    });
    expect(out).toMatch(
      /^RPO and RTO: at most 60 s of work .* a restore takes about \d+ s \(RTO 30 min\)$/m,
    );

    const status = JSON.parse((await ctm(["status", "--json"])).out);
    expect(status.backup).toMatchObject({
      last_full_at: full.stopped_at,
      last_at: next.stopped_at,
      running: false,
      recoverable_from: full.stopped_at,
      gaps: [],
      last_drill: null,
      objectives: { unarchived_ms: 60_000 },
      archive: { failing: false, waiting_segments: 0 },
    });
    expect(status.postgres).toMatchObject({
      version: "15.18",
      primary: "node-1",
      rw: { member: "node-1", reachable: true },
    });
  });

  test("a segment that is gone is in the list and its picture", async () => {
    const { backup } = stack.descriptor;
    const [repository] = backup.repositories;
    const archive = join(repository?.path ?? "", "archive", backup.stanza);
    const stored = async (): Promise<string> => {
      const segment = await stack.sql(
        "SELECT pg_walfile_name(lsn) FROM (SELECT pg_logical_emit_message(true, 'test', 'x') AS lsn) AS message; SELECT pg_switch_wal() \\g /dev/null",
      );
      return await waitFor(`${segment} in the repository`, 20_000, async () => {
        const { stdout } = await run("find", [archive, "-name", `${segment}-*`]);
        return stdout.trim() === "" ? undefined : stdout.trim();
      });
    };
    const middle = await stored();
    await stored();
    await run("mv", [middle, `${middle}.away`]);
    try {
      const name = basename(middle).slice(0, 24);
      const list = JSON.parse((await ctm(["backup", "list", "--json"])).out);
      expect(list).toMatchObject({
        gaps: [{ from: name, to: name, kind: "missing" }],
        lost: [{ to: null }],
      });
      const { code, out } = await ctm(["backup", "list"]);
      expect(code).toBe(0);
      expect(out).toContain(", 1 gap: ctm backup audit\n├F");
      expect(out).toMatch(/×┤$/m);
    } finally {
      await run("mv", [`${middle}.away`, middle]);
    }
    expect((await ctm(["backup", "list"])).out).toContain(", no gap\n├F");
  });

  test("a restore beside the stack needs a folder to stand in", async () => {
    const words = ["restore", "--to", "latest", "--into", "/nonexistent/look"];
    for (const more of [["--plan"], ["--yes"]]) {
      expect(await ctm([...words, ...more])).toEqual({
        code: 2,
        out: "",
        err: "parent-missing: /nonexistent, the folder that /nonexistent/look is to stand in, does not exist\nnext: make it, or name a folder whose parent is there\n",
      });
    }
  });

  test("while another runs, none begins", async () => {
    const { backup } = stack.descriptor;
    // pgBackRest's lock is a lock on this file (common/lock.c).
    const lock = join(stack.home, "run/local/lock", `${backup.stanza}-backup.lock`);
    const holder = spawn("/usr/bin/flock", ["--no-fork", lock, "sleep", "60"], { stdio: "ignore" });
    try {
      await waitFor("the lock to be held", 10_000, async () => {
        const { code } = await run("flock", ["--nonblock", lock, "true"], { accept: [0, 1] });
        return code === 1 ? true : undefined;
      });
      expect(await ctm(["backup", "full"])).toEqual({
        code: 2,
        out: "",
        err: "backup-running: another backup or expiry of this stack runs now; nothing was done\nnext: ctm backup list shows it when it is done\n",
      });
    } finally {
      holder.kill();
      await once(holder, "close");
    }
  });

  test("without a leader none begins", async () => {
    const { "/cluster": cluster } = stack.patroni;
    stack.patroni["/cluster"] = { members: [{ name: "node-1", role: "replica" }] };
    try {
      expect(await ctm(["backup"])).toMatchObject({
        code: 1,
        err: "no-leader: no member of the cluster leads, and a backup begins there\nnext: ctm status\n",
      });
    } finally {
      stack.patroni["/cluster"] = cluster ?? null;
    }
  });

  test("everything in the repository belongs to PostgreSQL's user", async () => {
    const { users, backup } = stack.descriptor;
    const [repository] = backup.repositories;
    const folders = [repository?.path ?? "", join(stack.home, "log/local/pgbackrest")];
    const { stdout } = await run("find", [...folders, "!", "-user", users.postgres]);
    expect(stdout).toBe("");
  });
});

describe("doctor", () => {
  test("finds what was broken, and says what to do about each", async () => {
    const { descriptor, home } = stack;
    descriptor.edge = {
      url: "https://api.example.com",
      executable: join(home, "cloudflared"),
      metrics: { host: "127.0.0.1", port: 1 },
    };
    await stack.save();
    const [repository] = descriptor.backup.repositories;
    const foreign = join(repository?.path ?? "", "foreign");
    await writeFile(foreign, "");
    await run("chown", ["nobody", foreign]);
    await writeFile(join(home, "local/credentials/ctm_query"), "wrong", { mode: 0o600 });
    await run("chmod", ["644", join(home, "local/credentials/ctm_api")]);
    const { code, out } = await ctm(["doctor", "--json"]);
    expect(code).toBe(3);
    const wrong = JSON.parse(out).findings.filter(({ ok }: { ok: boolean }) => !ok);
    const texts = wrong.map(
      ({ check, message, next }: Record<string, string>) => `${check}: ${message} -> ${next}`,
    );
    expect(texts).toContain(
      `files: ${foreign} does not belong to ${descriptor.users.postgres} -> chown -R ${descriptor.users.postgres}: ${repository?.path}`,
    );
    expect(texts).toContain(
      `credentials: ${home}/local/credentials/ctm_api can be read by others (mode 644) -> chmod 600 ${home}/local/credentials/ctm_api`,
    );
    expect(texts).toContain(
      'logins: ctm_query: password authentication failed for user "ctm_query" -> npm run up repairs roles and passwords',
    );
    expect(texts).toContain(
      `programs: ${home}/cloudflared, which holds the tunnel to Cloudflare open, cannot be run -> install cloudflared again, as docs/first-deploy.md says`,
    );
    expect(texts).toContain(
      `certificates: ${home}/local/tls/ca.crt expires in 1 day -> npm run up issues a new one`,
    );
  });

  test("blames no password where another thing refuses", async () => {
    await stack.sql("ALTER ROLE ctm_backup CONNECTION LIMIT 0");
    try {
      const { out } = await ctm(["doctor", "--json"]);
      const logins = JSON.parse(out).findings.filter(
        ({ check }: { check: string }) => check === "logins",
      );
      expect(logins).toContainEqual({
        check: "logins",
        ok: false,
        message: 'ctm_backup cannot try: too many connections for role "ctm_backup"',
        next: "ctm status",
      });
    } finally {
      await stack.sql("ALTER ROLE ctm_backup CONNECTION LIMIT -1");
    }
  });

  test("names the encrypted settings that the stack's key does not open", async () => {
    const functions = new URL("../database/repeatable/13_settings.sql", import.meta.url);
    const [key, other] = ["k".repeat(43), "o".repeat(43)];
    await stack.sql(
      `SET ROLE ctm_owner;
       CREATE TABLE configuration_settings
         (setting_key varchar(255), setting_value jsonb, is_encrypted boolean);
       ${await readFile(functions, "utf8")}
       INSERT INTO configuration_settings VALUES ('in.clear', '1', false),
         ('smtp.password', encrypt_setting('smtp.password', '"p"', '${key}'), true);`,
      "taskmaster",
    );
    const path = join(stack.home, "local/credentials/settings-key");
    const settings = async (): Promise<string[]> => {
      const { out } = await ctm(["doctor", "--json"]);
      return JSON.parse(out)
        .findings.filter(({ check }: { check: string }) => check === "settings")
        .map(({ ok, message, next }: Record<string, string>) => `${ok} ${message} -> ${next}`);
    };
    expect(await settings()).toEqual([
      `false ${path} does not exist -> npm run up writes it anew from the stack's state`,
    ]);
    await writeFile(path, `${key}\n`, { mode: 0o600 });
    expect(await settings()).toEqual(["true 1 encrypted, opened by the stack's key -> null"]);
    await stack.sql(
      `INSERT INTO configuration_settings VALUES
         ('of.another', encrypt_setting('of.another', '"p"', '${other}'), true),
         ('moved', encrypt_setting('elsewhere', '"p"', '${key}'), true)`,
      "taskmaster",
    );
    expect(await settings()).toEqual([
      `false ${path} does not open moved, of.another -> docs/runbooks/lost-settings-key.md`,
    ]);
  });
});

describe("logs", () => {
  test("lists services, shows an end, and follows through a rotation until a signal", async () => {
    const [service] = stack.descriptor.services;
    const log = service?.log ?? "";
    await mkdir(join(stack.home, "log/local"), { recursive: true });
    await writeFile(log, "one\ntwo\nthree\n");
    expect((await ctm(["logs", "node-1", "--lines", "2"])).out).toBe("two\nthree\n");
    expect(JSON.parse((await ctm(["logs", "--json"])).out).services).toEqual([service]);
    expect((await ctm(["logs", "node"])).err).toBe(
      'no-such-service: "node" is not one of node-1\nnext: ctm logs\n',
    );
    const child = spawn(process.execPath, [...cli, "logs", "node-1", "--follow", "--lines", "1"], {
      env: stack.env,
      stdio: ["ignore", "pipe", "ignore"],
    });
    let out = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    await waitFor("the end of the log", 10_000, () => (out === "three\n" ? true : undefined));
    await run("mv", [log, `${log}.1`]);
    await writeFile(log, "after the rotation\n");
    await waitFor("the new log", 10_000, () =>
      out === "three\nafter the rotation\n" ? true : undefined,
    );
    child.kill("SIGTERM");
    await once(child, "close");
    expect((await stat(log)).size).toBeGreaterThan(0);
  });
});
