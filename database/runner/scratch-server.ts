import { randomBytes } from "node:crypto";
import { spawn, type ChildProcessByStdio } from "node:child_process";
import { chmod, chown, mkdir, open, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Writable } from "node:stream";
import {
  CtmError,
  exists,
  findIdentity,
  identityOf,
  isRoot,
  messageOf,
  readFileIfExists,
  run,
  waitFor,
} from "#system";
import type { ConnectionOptions } from "../pgtap-runner/src/index.ts";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { fetchedServers } from "./embedded-server.ts";

/** A PostgreSQL server of our own, gone when stopped: for plans, checks and tests. */
export interface ScratchServer {
  /** Superuser on the database `postgres`, over a socket in a folder of the server's. */
  connection: DatabaseConnection;
  /** As `connection`, on another database. */
  database(name: string): DatabaseConnection;
  /** Major version. */
  version: number;
  log(): Promise<string>;
  stop(): Promise<void>;
}

const startTimeoutMs = 30_000;

/**
 * Makes and starts a server in a temporary folder, listening on a socket only. As root it runs as
 * the OS user `postgres`, or `nobody` where there is none, for PostgreSQL refuses to run as root;
 * else as the user itself.
 *
 * @param options.binaries folder of initdb and postgres; found by `findBinaries` when absent
 * @param options.settings server settings beside ours, which trade durability for speed
 */
export async function startScratchServer(
  options: { binaries?: string; settings?: Record<string, string> } = {},
): Promise<ScratchServer> {
  const binaries = options.binaries ?? (await findBinaries());
  const identity = isRoot()
    ? ((await findIdentity("postgres")) ?? (await identityOf("nobody")))
    : undefined;
  const folder = join(tmpdir(), `ctm-scratch-${randomBytes(12).toString("hex")}`);
  const data = join(folder, "data");
  const password = randomBytes(12).toString("hex");
  // Before the folder: whoever kills us between the two would leave it behind.
  const watchdog = startWatchdog(folder);
  const remove = async (): Promise<void> => {
    await rm(folder, { recursive: true, force: true });
    watchdog.stdin.end();
  };
  try {
    await mkdir(folder, { mode: 0o700 });
    const passwordFile = join(folder, "password");
    await writeFile(passwordFile, password, { mode: 0o600 });
    await chmod(folder, 0o700);
    if (identity !== undefined) {
      await chown(folder, identity.uid, identity.gid);
      await chown(passwordFile, identity.uid, identity.gid);
    }
    await run(
      join(binaries, "initdb"),
      [
        `--pgdata=${data}`,
        `--pwfile=${passwordFile}`,
        "--username=postgres",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
      ],
      {
        ...(identity === undefined ? {} : { identity }),
        cwd: "/",
        env: withoutConnection(process.env),
        timeoutMs: startTimeoutMs,
      },
    );
  } catch (error) {
    await remove();
    throw error;
  }

  const settings = {
    listen_addresses: "",
    port: "5432",
    unix_socket_directories: folder,
    fsync: "off",
    full_page_writes: "off",
    synchronous_commit: "off",
    wal_level: "minimal",
    max_wal_senders: "0",
    shared_buffers: "64MB",
    ...options.settings,
  };
  const logFile = join(folder, "log");
  const log = await open(logFile, "a");
  // In a process group of its own, so that Ctrl-C reaches it through us and in order.
  const child = spawn(
    join(binaries, "postgres"),
    ["-D", data, ...Object.entries(settings).map(([name, value]) => `--${name}=${value}`)],
    {
      cwd: "/",
      env: withoutConnection(process.env),
      stdio: ["ignore", log.fd, log.fd],
      detached: true,
      ...identity,
    },
  );
  // Before anything is awaited: a server that refuses its settings ends within milliseconds.
  const ended = new Promise<void>((resolve) => {
    child.on("exit", () => resolve());
    child.on("error", () => resolve());
  });
  await log.close();
  const stop = async (): Promise<void> => {
    // SIGINT is a fast shutdown: sessions are ended, files are closed.
    child.kill("SIGINT");
    await ended;
    await remove();
  };
  const connection: DatabaseConnection = {
    host: folder,
    port: 5432,
    user: "postgres",
    password,
    database: "postgres",
    // A socket has no TLS, whatever PGSSLMODE says.
    ssl: false,
  };
  try {
    const isUp = await waitFor(
      "the scratch server to accept connections",
      startTimeoutMs,
      async () => {
        if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
          return false;
        }
        await disconnect(await connect(connection, "ctm scratch"));
        return true;
      },
      { intervalMs: 50 },
    );
    if (!isUp) throw new Error("it ended at once");
  } catch (error) {
    const said = (await readFileIfExists(logFile))?.trim() ?? "";
    await stop();
    throw new CtmError(
      "scratch-server-failed",
      `the scratch server did not start: ${said === "" ? messageOf(error) : said}`,
      { next: "read what it says; CTM_POSTGRES_BIN names another server", cause: error },
    );
  }
  const version = Number((await readFile(join(data, "PG_VERSION"), "utf8")).trim());
  return {
    connection,
    database: (name) => ({ ...connection, database: name }),
    version,
    log: async () => (await readFileIfExists(logFile)) ?? "",
    stop,
  };
}

/** A database of a scratch server, as pgtap-runner is told where to connect. */
export function runnerConnection(server: ScratchServer, database: string): ConnectionOptions {
  const { host, port, user, password } = server.connection;
  return {
    host: String(host),
    port: Number(port),
    user: String(user),
    password: String(password),
    database,
  };
}

/** The environment less the variables that lead clients, and servers, to one certain server. */
export function withoutConnection(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^PG[A-Z]/.test(name)));
}

/**
 * Ends the server and removes its folder when this process is gone, however it went: the pipe
 * closes then. After an orderly stop there is no folder left, and it does nothing.
 */
function startWatchdog(folder: string): ChildProcessByStdio<Writable, null, null> {
  const script = `
    read -r _
    [ -e "$1" ] || exit 0
    if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then
      kill -QUIT "$pid"
      while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
    # An initdb that was under way may make some more files before it notices.
    until rm -rf "$1" && sleep 1 && [ ! -e "$1" ]; do :; done`;
  const watchdog = spawn("sh", ["-c", script, "ctm-scratch-watchdog", folder], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  watchdog.stdin.on("error", () => undefined);
  watchdog.on("error", () => undefined);
  // Neither may keep this process alive.
  watchdog.unref();
  if (watchdog.stdin instanceof Socket) watchdog.stdin.unref();
  return watchdog;
}

/**
 * The folder of initdb and postgres: `CTM_POSTGRES_BIN`, else Debian's packages, newest first, else
 * one that `embeddedServer` fetched before.
 *
 * @param options.version the one major version wanted; any by default
 * @param options.atLeast the oldest major version wanted
 * @param options.fetched false leaves out what was fetched before, whichever version that was
 * @throws CtmError `postgres-not-installed`
 */
export async function findBinaries(
  options: {
    version?: number;
    atLeast?: number;
    fetched?: boolean;
    env?: NodeJS.ProcessEnv;
  } = {},
): Promise<string> {
  const { version, atLeast = 0, fetched = true, env = process.env } = options;
  for (const folder of await binaryFolders(env, fetched)) {
    if (!(await exists(join(folder, "initdb")))) continue;
    if (version === undefined && atLeast === 0) return folder;
    const found = await majorVersion(folder);
    if (found >= atLeast && (version === undefined || found === version)) return folder;
  }
  const wanted = version ?? (atLeast === 0 ? "" : `${atLeast} or newer`);
  throw new CtmError(
    "postgres-not-installed",
    `no PostgreSQL${wanted === "" ? "" : ` ${wanted}`} server is installed here`,
    {
      next: `apt-get install postgresql${version === undefined ? "" : `-${version}`}, or set CTM_POSTGRES_BIN to the folder of its initdb`,
    },
  );
}

const debianFolder = "/usr/lib/postgresql";

async function binaryFolders(env: NodeJS.ProcessEnv, fetched: boolean): Promise<string[]> {
  const given = env["CTM_POSTGRES_BIN"] ?? "";
  const versions = (await readdir(debianFolder).catch(() => [])).map(Number);
  return [
    ...(given === "" ? [] : [given]),
    ...versions
      .toSorted((left, right) => right - left)
      .map((version) => join(debianFolder, String(version), "bin")),
    ...(fetched ? await fetchedServers() : []),
  ];
}

async function majorVersion(folder: string): Promise<number> {
  // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
  const { stdout } = await run(join(folder, "postgres"), ["--version"]);
  return Number(/ (\d+)(?:\.|beta|rc|devel)/.exec(stdout)?.[1]);
}
