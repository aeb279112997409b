import { chmod, mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCredential, type CredentialName } from "#stack";
import { stackProcesses } from "#runtime";
import { identityOf, isRoot, run, waitFor } from "#system";
import { stanzaInfoOf } from "../../infra/backup/pgbackrest.ts";
import { startS3Server } from "./s3-server.ts";
import { checkout, execute, Home, mustSucceed, plainEnvironment, shown } from "./home.ts";

/*
 * One stack, from a bare clone to its removal, in the order in which a person would meet it.
 * Later tests stand on earlier ones: look at the first failure.
 */

interface Status {
  healthy: boolean;
  problems: unknown[];
  postgres: {
    primary: string | null;
    members: { name: string; role: string; state: string; lag_bytes: number | null }[];
  };
  backup: { last_full_at: string | null };
  schema: { version: string | null; pending: unknown };
}

let home: Home;
/** A path with a space, as people have them. */
let clone: string;
let key = "";

beforeAll(async () => {
  // Odd, yet legal: nothing that people see may depend on them.
  home = await Home.create({ TZ: "Asia/Kathmandu", LANG: "tr_TR.UTF-8", LC_ALL: "tr_TR.UTF-8" });
  clone = join(home.directory, "a clone");
  await run("git", ["clone", "--quiet", checkout, clone]);
});

afterAll(async () => {
  await home.end();
});

async function inClone(command: string, ...args: string[]): Promise<string> {
  const ended = await execute(command, args, { cwd: clone, env: home.env });
  return mustSucceed([command, ...args].join(" "), ended);
}

async function status(): Promise<Status> {
  return await home.json<Status>("status");
}

async function api(method: string, path: string, body?: unknown): Promise<Response> {
  const { api: where } = await home.descriptor();
  return await fetch(`${where.url}${path}`, {
    method,
    headers: { "x-api-key": key, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

describe("a bare clone", () => {
  it("comes up with one command and nothing exported", async () => {
    const out = await inClone("npm", "run", "up");
    expect(out).toContain('The stack "local" is up');
    expect(await inClone("git", "status", "--porcelain")).toBe("");
  });

  it("is healthy: a leader, a streaming standby, a full backup, nothing pending", async () => {
    const found = await status();
    expect(found, JSON.stringify(found.problems)).toMatchObject({
      healthy: true,
      backup: { last_full_at: expect.any(String) },
    });
    const roles = found.postgres.members.map(({ role, state }) => `${role} ${state}`);
    expect(roles.toSorted()).toEqual(["leader running", "sync_standby streaming"]);
    expect(await home.json("migrate", "status")).toMatchObject({ pending: [] });
  });

  it("archives: a switched segment is seen in the repository", async () => {
    const { rows } = await home.superuser("SELECT pg_walfile_name(pg_switch_wal()) AS segment");
    const segment = String(rows[0]?.["segment"]);
    const descriptor = await home.descriptor();
    const leader = descriptor.postgres.members[0];
    await waitFor(`${segment} in the repository`, 60_000, async () => {
      const info = await stanzaInfoOf({
        configuration: leader?.backrestConfiguration ?? "",
        stanza: descriptor.backup.stanza,
        user: descriptor.users.postgres,
      });
      return info?.archive.some(({ max }) => max !== null && max >= segment) === true
        ? true
        : undefined;
    });
  });

  it("gives a key that creates and lists tasks, readable on the read-only port", async () => {
    const made = await home.json<{ id: string; key: string }>(
      "key",
      "create",
      ...["--name", "e2e", "--user", "tester", "--permission", "read:tasks"],
      ...["--permission", "write:tasks", "--rate-limit-hour", "1000000"],
      ...["--rate-limit-day", "1000000"],
    );
    expect(made.key).toMatch(/^ctm_[0-9a-f]{64}$/);
    key = made.key;
    const created = await api("POST", "/api/database/tasks", { title: "seen on the standby" });
    expect(created.status).toBe(201);
    const listed = await api("GET", "/api/database/tasks?status=pending");
    expect(await listed.json()).toMatchObject({ pagination: { total: 1 } });
    await waitFor("the task on the read-only port", 20_000, async () => {
      const { rows } = await home.owner(
        "SELECT title, pg_is_in_recovery() AS standby FROM tasks",
        "ro",
      );
      return rows[0]?.["title"] === "seen on the standby" && rows[0]?.["standby"] === true
        ? true
        : undefined;
    });
  });
});

describe("a second run", () => {
  it("changes nothing", async () => {
    expect(await home.json("up")).toMatchObject({ changes: 0, changed: [] });
  });

  it("is the same with plain pulumi in a fresh shell", async () => {
    const script = `eval "$(node bin/ctm env)"
      pulumi preview --refresh --expect-no-changes --non-interactive
      pulumi up --yes --non-interactive --expect-no-changes`;
    const ended = await execute("bash", ["-c", `set -e\n${script}`], { cwd: clone, env: home.env });
    expect(ended.code, shown(ended)).toBe(0);
    expect(ended.stdout).not.toMatch(/\bto (create|update|delete)\b/);
  });

  it("is the same on an S3 backend", async () => {
    const server = await startS3Server();
    try {
      await run("curl", ["-sf", "-X", "PUT", `${server.endpoint}/ctm-state`]);
      const backend = `s3://ctm-state?endpoint=${server.endpoint}&use_path_style=true&region=us-east-1`;
      const script = `set -e
        eval "$(node bin/ctm env)"
        pulumi stack export --file "$CTM_HOME/exported.json"
        export PULUMI_BACKEND_URL='${backend}' AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
        pulumi stack init local
        pulumi stack import --file "$CTM_HOME/exported.json"
        rm "$CTM_HOME/exported.json"
        pulumi up --yes --refresh --expect-no-changes --non-interactive >&2
        node bin/ctm up --json`;
      const ended = await execute("bash", ["-c", script], { cwd: clone, env: home.env });
      expect(ended.code, shown(ended)).toBe(0);
      expect(JSON.parse(ended.stdout.slice(ended.stdout.indexOf('{"stack"')))).toMatchObject({
        changes: 0,
      });
    } finally {
      await server.stop();
    }
  });

  it("says and repairs exactly what was changed by hand", async () => {
    const descriptor = await home.descriptor();
    const standby = (await status()).postgres.members.find(({ role }) => role !== "leader")?.name;
    const programs = descriptor.supervisor.programs;
    const etcdProgram = join(programs, "etcd.conf");
    await home.superuser("ALTER ROLE ctm_monitor PASSWORD 'changed by hand'");
    await home.superuser("ALTER ROLE ctm_query CREATEDB");
    await home.superuser("ALTER ROLE ctm_api SET lock_timeout = '1s'");
    await home.superuser("REVOKE CONNECT ON DATABASE taskmaster FROM ctm_query");
    await home.superuser("REVOKE EXECUTE ON FUNCTION pg_switch_wal() FROM ctm_backup", "postgres");
    await home.superuser("DROP EXTENSION pg_stat_statements");
    await writeFile(
      etcdProgram,
      (await readFile(etcdProgram, "utf8")).replace("stopwaitsecs=20", "stopwaitsecs=1"),
    );
    await patroni("PATCH", "/config", { ttl: 37 });
    await run("supervisorctl", ["-c", descriptor.supervisor.configuration, "stop", standby ?? ""], {
      timeoutMs: 120_000,
    });
    await rm(join(home.paths.credentials, "ctm_backup"));
    await chmod(join(home.paths.tls, "server.key"), 0o640);

    const preview = await execute(
      "bash",
      ["-c", `eval "$(node bin/ctm env)" && pulumi preview --refresh --json --suppress-progress`],
      { cwd: clone, env: home.env },
    );
    const plan = JSON.parse(preview.stdout) as {
      steps: { op: string; urn: string; detailedDiff: Record<string, unknown> | null }[];
    };
    const found = plan.steps
      .filter(({ op }) => !["same", "refresh", "read"].includes(op))
      .map(({ op, urn, detailedDiff }) => {
        const properties = Object.keys(detailedDiff ?? {}).toSorted();
        return `${op} ${urn.split("::").at(-1)} ${properties.join(" ")}`;
      });
    expect(found.toSorted()).toEqual(
      [
        "update ctm_monitor password",
        "update ctm_monitor-login login",
        "update ctm_query createDatabase",
        "update ctm_api-settings settings.lock_timeout",
        "update database-ctm_query privileges",
        "update backup-functions functions[2] functions[3] functions[4]",
        "create extension-pg_stat_statements ",
        "update etcd program",
        `update ${standby} state`,
        "update cluster members." + standby,
        "update settings configuration.ttl",
        "update ctm_backup file",
        "update server condition",
      ].toSorted(),
    );

    await home.must("up");
    expect(await home.json("up")).toMatchObject({ changes: 0 });
    expect((await status()).healthy).toBe(true);
  });

  async function patroni(method: string, path: string, body: unknown): Promise<void> {
    const { postgres, tls } = await home.descriptor();
    const { primary } = (await status()).postgres;
    const member = postgres.members.find(({ name }) => name === primary);
    const credentials = await readCredential(home.paths, "patroni-rest");
    await run(
      "curl",
      [
        ...["--silent", "--fail", "--show-error", "--cacert", tls.authority, "--config", "-"],
        ...["--request", method, "--data", JSON.stringify(body)],
        `https://${member?.rest.host}:${member?.rest.port}${path}`,
      ],
      { input: `user = "${credentials}"\n` },
    );
  }
});

describe("doors", () => {
  const outsiders = isRoot() ? ["nobody", "ctm"] : [];

  it.each(outsiders)("are shut for %s", async (user) => {
    const identity = await identityOf(user);
    const { postgres, etcd, tls } = await home.descriptor();
    const [member] = postgres.members;
    if (member === undefined) throw new Error("no member");
    const attempt = async (command: string, args: string[]): Promise<number> => {
      const ended = await execute(command, args, {
        cwd: "/",
        env: { ...plainEnvironment(), PGCONNECT_TIMEOUT: "5" },
        ...identity,
      });
      return ended.code;
    };
    const unreadable = [
      member.dataDirectory,
      join(member.dataDirectory, "pg_hba.conf"),
      join(member.patroniConfiguration, "patroni.yml"),
      member.backrestConfiguration,
      join(home.paths.state, "repository", "archive"),
      join(home.paths.credentials, "ctm_migrator"),
      join(home.paths.credentials, "pgpass"),
      join(home.paths.tls, "ca.key"),
      join(home.paths.tls, "server.key"),
      join(home.paths.tls, "provisioning.key"),
      join(home.paths.pulumi, "passphrase"),
      join(home.paths.pulumi, "backend"),
    ];
    for (const path of unreadable) {
      expect(
        await attempt("ls", ["-la", path]).then(async () => await attempt("cat", [path])),
        path,
      ).not.toBe(0);
    }
    const doors: [string, string, string[]][] = [
      [
        "the superuser by socket",
        "psql",
        [
          "-h",
          member.socketDirectory,
          "-p",
          `${member.port}`,
          "-U",
          "postgres",
          "-w",
          "-c",
          "SELECT 1",
        ],
      ],
      [
        "the superuser by TCP",
        "psql",
        [
          `host=127.0.0.1 port=${postgres.rw.port} user=postgres sslmode=require`,
          "-w",
          "-c",
          "SELECT 1",
        ],
      ],
      [
        "a role without password",
        "psql",
        [
          `host=127.0.0.1 port=${postgres.rw.port} user=ctm_migrator dbname=taskmaster sslmode=require`,
          "-w",
          "-c",
          "SELECT 1",
        ],
      ],
      [
        "a connection in clear",
        "psql",
        [
          `host=127.0.0.1 port=${postgres.rw.port} user=ctm_api dbname=taskmaster sslmode=disable`,
          "-w",
          "-c",
          "SELECT 1",
        ],
      ],
      [
        "etcd without a certificate",
        "curl",
        [
          "-sf",
          "--cacert",
          tls.authority,
          `https://127.0.0.1:${etcd[0]?.client.port}/v3/kv/range`,
          "-d",
          '{"key":"AA=="}',
        ],
      ],
      [
        "Patroni without credentials",
        "curl",
        [
          "-sf",
          "--cacert",
          tls.authority,
          "-X",
          "PATCH",
          "-d",
          '{"ttl":99}',
          `https://127.0.0.1:${member.rest.port}/config`,
        ],
      ],
      [
        "supervisord",
        "supervisorctl",
        ["-s", `unix://${home.paths.run}/supervisor.sock`, "status"],
      ],
    ];
    for (const [door, command, args] of doors) {
      expect(await attempt(command, args), door).not.toBe(0);
    }
  });

  it("let no generated secret reach a command line, a log or the state in clear", async () => {
    const names: CredentialName[] = [
      "ctm_migrator",
      "ctm_api",
      "ctm_query",
      "ctm_monitor",
      "ctm_replicator",
      "ctm_backup",
      "patroni-rest",
      "repository-cipher",
      "settings-key",
    ];
    const secrets = await Promise.all(
      names.map(async (name) => (await readCredential(home.paths, name)).replace(/^ctm:/, "")),
    );
    secrets.push(key, (await readFile(join(home.paths.pulumi, "passphrase"), "utf8")).trim());
    const { stdout: commandLines } = await run("ps", ["-eww", "-o", "args"]);
    const places = new Map<string, string>([["ps", commandLines]]);
    for (const folder of [home.paths.log, join(home.paths.pulumi, "backend")]) {
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const path = join(entry.parentPath, entry.name);
        places.set(path, await readFile(path, "utf8"));
      }
    }
    places.set("descriptor", await readFile(home.paths.descriptor, "utf8"));
    places.set(
      "pg_stat_statements",
      JSON.stringify((await home.superuser("SELECT query FROM pg_stat_statements")).rows),
    );
    const leaks = [...places].flatMap(([place, text]) =>
      secrets.flatMap((secret, index) =>
        text.includes(secret) ? [`${names[index] ?? "key or passphrase"} in ${place}`] : [],
      ),
    );
    expect(secrets.every((secret) => secret.length > 20)).toBe(true);
    expect(leaks).toEqual([]);
  });
});

describe("real work", () => {
  const count = 10_000;

  it(`imports ${count} tasks with contexts and dependencies through the API`, async () => {
    const ids: string[] = [];
    const workers = Array.from({ length: 8 }, async (_, worker) => {
      for (let index = worker; index < count; index += 8) {
        const answer = await api("POST", "/api/database/tasks", {
          title: `imported ${index}`,
          priority: index % 11,
          contexts: [{ context_type: "codebase", context_data: { index } }],
          ...(ids.length > 0 && index % 3 === 0 ? { depends_on: [ids[ids.length - 1]] } : {}),
        });
        if (answer.status !== 201)
          throw new Error(`task ${index}: ${answer.status} ${await answer.text()}`);
        const { task } = (await answer.json()) as { task: { id: string } };
        ids.push(task.id);
      }
    });
    await Promise.all(workers);
    const { rows } = await home.owner(`SELECT
      (SELECT count(*) FROM tasks WHERE title LIKE 'imported %')::int AS tasks,
      (SELECT count(*) FROM task_contexts WHERE context_type = 'codebase')::int AS contexts,
      (SELECT count(*) FROM task_dependencies)::int > ${count / 4} AS dependencies`);
    expect(rows).toEqual([{ tasks: count, contexts: count, dependencies: true }]);
  });

  it("is untouched by another up", async () => {
    expect(await home.json("up")).toMatchObject({ changes: 0 });
    const { rows } = await home.owner("SELECT count(*)::int AS tasks FROM tasks");
    expect(rows).toEqual([{ tasks: count + 1 }]);
  });
});

describe("on call", () => {
  it("works without the Pulumi CLI and its state", async () => {
    const away = `${home.paths.pulumi}-away`;
    const env = { ...home.env, CTM_CACHE: join(home.directory, "no-cache") };
    await mkdir(join(env.CTM_CACHE, "node"), { recursive: true });
    await run("cp", ["-r", "/var/cache/ctm/node/.", join(env.CTM_CACHE, "node")]);
    await rename(home.paths.pulumi, away);
    try {
      const commands = [
        ["status", "--json"],
        ["psql", "--", "-Atc", "SELECT count(*) FROM tasks"],
        ["psql", "--read-only", "--", "-Atc", "SELECT 1"],
        ["logs", "api", "--lines", "5"],
        ["key", "create", "--name", "later", "--user", "x", "--permission", "read:tasks", "--json"],
        ["migrate", "status", "--json"],
        ["migrate", "up", "--json"],
        ["backup", "incr", "--json"],
        ["backup", "list", "--json"],
        ["stop"],
        ["start"],
      ];
      for (const command of commands) {
        const ended = await execute("node", [join(checkout, "bin/ctm"), ...command], {
          cwd: "/",
          env,
        });
        expect(ended.code, `ctm ${command.join(" ")}\n${shown(ended)}`).toBe(0);
      }
    } finally {
      await rename(away, home.paths.pulumi);
    }
  });

  it("starts a stack again after all its processes were killed, with its data", async () => {
    await home.killAll();
    await rm(home.paths.run, { recursive: true, force: true });
    await home.must("start");
    const { rows } = await home.owner("SELECT count(*)::int AS tasks FROM tasks");
    expect(rows).toEqual([{ tasks: 10_001 }]);
    expect((await api("GET", "/api/database/tasks?limit=1")).status).toBe(200);
  });

  it("comes back by up, too", async () => {
    await home.killAll();
    await home.must("up");
    const { rows } = await home.owner("SELECT count(*)::int AS tasks FROM tasks");
    expect(rows).toEqual([{ tasks: 10_001 }]);
  });
});

describe("down", () => {
  it("removes a dead stack, leaving no process, port or file but what it keeps", async () => {
    await home.must("backup", "full");
    const { postgres, api: where } = await home.descriptor();
    await home.killAll();
    const { kept } = await home.json<{ kept: string }>("down", "--yes");
    expect(await stackProcesses(home.paths.state)).toEqual([]);
    for (const port of [postgres.rw.port, postgres.ro.port, Number(new URL(where.url).port)]) {
      const { stdout } = await run("ss", ["-ltnH", `sport = :${port}`]);
      expect(stdout, `port ${port}`).toBe("");
    }
    const left = (await readdir(home.directory)).filter(
      (name) => name !== "a clone" && name !== "no-cache",
    );
    expect(left).toEqual(["kept"]);
    expect((await readdir(kept)).toSorted()).toEqual([
      "ca.crt",
      "ca.key",
      "descriptor.json",
      "repository",
      "repository-cipher",
      "settings-key",
    ]);
  });

  it("keeps what a restore works from", async () => {
    const [name] = await readdir(join(home.directory, "kept"));
    const kept = join(home.directory, "kept", name ?? "");
    const scratch = join(home.directory, "restored");
    const passphrase = (await readFile(join(kept, "repository-cipher"), "utf8")).trim();
    const configuration = join(home.directory, "restore.conf");
    await writeFile(
      configuration,
      `[global]\nrepo1-path=${join(kept, "repository")}\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=${passphrase}\nlog-path=${home.directory}\nlock-path=${home.directory}/lock\nlog-level-file=off\n[main]\npg1-path=${scratch}\n`,
    );
    const owner = isRoot() ? await identityOf("postgres") : undefined;
    await mkdir(scratch, { mode: 0o700 });
    if (owner !== undefined) {
      await run("chown", ["-R", `${owner.uid}:${owner.gid}`, scratch, configuration]);
    }
    const as = owner === undefined ? {} : { identity: owner };
    await run(
      "pgbackrest",
      [
        `--config=${configuration}`,
        "--stanza=main",
        "--type=immediate",
        "--target-action=promote",
        "restore",
      ],
      { ...as, cwd: "/", timeoutMs: 120_000 },
    );
    const version = (await readFile(join(scratch, "PG_VERSION"), "utf8")).trim();
    const binaries = `/usr/lib/postgresql/${version}/bin`;
    const options = `-c port=5432 -c listen_addresses='' -c unix_socket_directories=${scratch} -c ssl=off -c archive_mode=off -c shared_preload_libraries='' -c hba_file=${scratch}/trust.conf -c ident_file=${scratch}/none.conf`;
    await writeFile(join(scratch, "trust.conf"), "local all all trust\n");
    await writeFile(join(scratch, "none.conf"), "");
    await run(
      `${binaries}/pg_ctl`,
      ["-D", scratch, "-w", "-t", "120", "-l", join(scratch, "log"), "-o", options, "start"],
      { ...as, cwd: "/", timeoutMs: 150_000 },
    );
    try {
      const { stdout } = await run(
        "psql",
        ["-h", scratch, "-U", "postgres", "-d", "taskmaster", "-Atc", "SELECT count(*) FROM tasks"],
        { ...as, cwd: "/" },
      );
      expect(stdout.trim()).toBe("10001");
    } finally {
      await run(`${binaries}/pg_ctl`, ["-D", scratch, "-w", "-m", "immediate", "stop"], {
        ...as,
        cwd: "/",
      });
    }
  });

  it("is adopted in nothing by the next up", async () => {
    await home.must("up");
    const { rows } = await home.owner("SELECT count(*)::int AS tasks FROM tasks");
    expect(rows).toEqual([{ tasks: 0 }]);
    expect((await readdir(join(home.directory, "kept"))).length).toBe(1);
  });
});
