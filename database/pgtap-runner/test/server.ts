import { execFile, execFileSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { resolveConnection, type ConnectionSettings } from "../src/server/connection-settings.ts";
import { Session } from "../src/server/session.ts";

const execute = promisify(execFile);

/** A PostgreSQL server of the tests' own, with a database `app` that has pgTAP. */
export interface TestServer {
  settings: ConnectionSettings;
  /** Where its data is; `postmaster.pid` in it names the server's process. */
  dataFolder: string;
  /** For programs that take a URL. */
  url: string;
  /** The PG* variables that lead to it. */
  environment: NodeJS.ProcessEnv;
  /** Runs SQL in a database of it; returns the rows as text. */
  sql(text: string, database?: string): Promise<(string | null)[][]>;
  /** Stops it as a crash would, or in order, and starts it again. */
  restart(mode: "immediate" | "fast"): Promise<void>;
  halt(mode: "immediate" | "fast"): Promise<void>;
  /** Starts it unless it runs. */
  start(): Promise<void>;
  /** Stops it and deletes its data. */
  stop(): Promise<void>;
}

/** Directory of the server's programs; `PG_BINDIR` names another. */
export function serverPrograms(): string {
  const named = process.env["PG_BINDIR"];
  if (named !== undefined) return named;
  const root = "/usr/lib/postgresql";
  const versions = existsSync(root)
    ? readdirSync(root).toSorted((a, b) => Number(b) - Number(a))
    : [];
  const found = versions
    .map((version) => join(root, version, "bin"))
    .find((path) => existsSync(join(path, "initdb")));
  if (found !== undefined) return found;
  return execFileSync("pg_config", ["--bindir"], { encoding: "utf8" }).trim();
}

/** The identity that the server runs as: PostgreSQL refuses root. */
function serverIdentity(): { uid: number; gid: number } | undefined {
  if (userInfo().uid !== 0) return undefined;
  const id = (flag: string): number =>
    Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}

/**
 * A port on which nobody listens, for a server that starts later. Not one of those that the kernel
 * gives to whoever asks for any, from 32768 on: it would give it to somebody else in the meantime.
 */
async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 30_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

/** A certificate that nobody has signed, as Debian's ssl-cert makes one. */
async function makeCertificate(
  data: string,
  identity: { uid: number; gid: number } | undefined,
): Promise<void> {
  const args = "req -new -x509 -nodes -newkey rsa:2048 -days 2 -subj /CN=localhost".split(" ");
  const files = ["-keyout", join(data, "server.key"), "-out", join(data, "server.crt")];
  await execute("openssl", [...args, ...files], { ...identity, cwd: data });
}

export async function startServer(
  options: {
    /** Waits for the disk, as a server does unless it is told otherwise. */
    durable?: boolean;
    /** Takes only TLS and passwords, as Debian sets servers up. Needs openssl. */
    guarded?: boolean;
    configuration?: readonly string[];
    /** Where its data goes. Default: the folder of temporary files. */
    folder?: string;
  } = {},
): Promise<TestServer> {
  const programs = serverPrograms();
  const identity = serverIdentity();
  const directory = await mkdtemp(join(options.folder ?? tmpdir(), "pgtap-runner-"));
  await chmod(directory, 0o755);
  if (identity !== undefined) await chown(directory, identity.uid, identity.gid);
  const data = join(directory, "data");
  const port = await freePort();
  const program = (name: string, args: string[]): Promise<unknown> =>
    execute(join(programs, name), args, { ...identity, cwd: directory, timeout: 60_000 });
  const durability =
    options.durable === true ? [] : ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
  const guarded = options.guarded === true;
  const password = guarded ? "not a secret" : undefined;
  const configuration = [
    ...(guarded ? ["ssl=on", "password_encryption=scram-sha-256"] : []),
    `port=${port}`,
    "listen_addresses=127.0.0.1",
    `unix_socket_directories=${directory}`,
    ...durability,
    ...(options.configuration ?? []),
  ];
  const serverArguments = configuration.map((setting) => `-c ${setting}`).join(" ");
  const log = join(directory, "log");
  const start = async (): Promise<void> => {
    if (existsSync(join(data, "postmaster.pid"))) return;
    await program("pg_ctl", ["-D", data, "-l", log, "-w", "-o", serverArguments, "start"]);
  };
  const halt = async (mode: "immediate" | "fast"): Promise<void> => {
    await program("pg_ctl", ["-D", data, "-m", mode, "-w", "stop"]);
  };
  try {
    const passwordFile = join(directory, "password");
    if (password !== undefined) await writeFile(passwordFile, password, { mode: 0o644 });
    await program("initdb", [
      `--pgdata=${data}`,
      "--username=postgres",
      ...(guarded ? ["--auth=scram-sha-256", `--pwfile=${passwordFile}`] : ["--auth=trust"]),
      "--encoding=UTF8",
      "--locale=C.UTF-8",
      "--no-sync",
    ]);
    if (guarded) await makeCertificate(data, identity);
    await start();
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
  const settings = resolveConnection(
    {
      host: "127.0.0.1",
      port,
      user: "postgres",
      database: "app",
      ...(password === undefined ? {} : { password }),
    },
    {},
  );
  const sql: TestServer["sql"] = async (text, database = "postgres") => {
    const session = await Session.connect(settings, database, "test");
    try {
      return await session.rows(text);
    } finally {
      await session.close();
    }
  };
  await sql("CREATE DATABASE app");
  await sql("CREATE EXTENSION pgtap", "app");
  return {
    settings,
    dataFolder: data,
    url: `postgresql://postgres@127.0.0.1:${port}/app`,
    environment: {
      ...process.env,
      PGHOST: "127.0.0.1",
      PGPORT: String(port),
      PGUSER: "postgres",
      PGDATABASE: "app",
      PGPASSWORD: password,
    },
    sql,
    halt,
    start,
    restart: async (mode) => {
      await halt(mode);
      await start();
    },
    stop: async () => {
      // Already stopped is as good as stopped.
      await halt("immediate").catch(() => undefined);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
