import { spawn, type ChildProcess } from "node:child_process";
import { open, readlink, rm, writeFile } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import type { ClientConfig } from "pg";
import {
  CtmError,
  isRoot,
  makeDirectory,
  messageOf,
  readFileIfExists,
  run,
  runAs,
  waitFor,
  writeFileAtomic,
} from "#system";
import { connected } from "../facts/connection.ts";
import { backrestOptions, type InstanceDirectories, type RecoverySource } from "./restore-files.ts";
import { formatLsn } from "./wal.ts";

/** Where replay stops; the planner finds the place in WAL of every other kind of target. */
export type StopPoint =
  /** All that the archive holds. */
  | { kind: "end" }
  /** As soon as the backup is consistent. */
  | { kind: "consistent" }
  /** Behind the first record that begins there or later (inclusive), or before it. */
  | { kind: "lsn"; lsn: bigint; inclusive: boolean };

export interface InstanceOptions {
  source: RecoverySource;
  directories: InstanceDirectories;
  /** Folder of postgres and pg_controldata. */
  binaries: string;
  stop: StopPoint;
  /** `latest`, or a timeline's number. */
  timeline: "latest" | number;
  /**
   * Null where nobody keeps what it becomes: it then archives nothing and gives up durability for
   * speed. A command where the cluster goes on from here: its new timeline has to be archived.
   */
  archiveCommand: string | null;
}

/** A private server on restored files: one socket, which the PostgreSQL user and root reach. */
export interface Instance {
  readonly options: InstanceOptions;
  /** The superuser, over the socket; any database. */
  readonly connection: ClientConfig;
  /** Everything that the server logged, of every start in this folder. */
  log(): Promise<string>;
  /** Why it does not run any more, in the server's words; undefined while it runs. */
  ended(): Promise<string | undefined>;
  query<Row extends object>(sql: string, parameters?: readonly unknown[]): Promise<Row[]>;
  /** From now on the archive seems to end: what comes into it later is not replayed. */
  freeze(): Promise<void>;
  /** Ends recovery. Returns the new timeline. @throws CtmError `promotion-failed` */
  promote(): Promise<number>;
  /** Lets it run on when this process ends. */
  release(): void;
}

const socketName = ".s.PGSQL.5432";
const promoteSeconds = 120;
/** A fast stop writes a checkpoint of all that was replayed. */
const stopTimeoutMs = 10 * 60_000;
/** Longest path of a Unix socket on Linux, less the terminating zero (sockaddr_un, 108 bytes). */
const longestSocketPath = 107;
const mebibyte = 1024 ** 2;

/** @throws CtmError `socket-path-too-long` (exit 2): before anything is restored for nothing */
export function checkSocketPath({ work }: InstanceDirectories): void {
  const path = join(work, socketName);
  if (Buffer.byteLength(path) <= longestSocketPath) return;
  throw new CtmError(
    "socket-path-too-long",
    `${path} exceeds ${longestSocketPath} bytes, the limit of a Unix socket path`,
    { next: "choose a folder with a shorter path", exitCode: 2 },
  );
}

/**
 * Starts PostgreSQL on restored files, as a standby of the archive alone: it replays what the
 * archive holds until the stop point and never promotes by itself, whatever is missing
 * (docs/decisions/0077-replay-as-a-standby.md). `replay` waits for the stop point.
 *
 * @throws CtmError `socket-path-too-long` (exit 2), `no-permission`
 */
export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const { source, directories } = options;
  checkSocketPath(directories);
  const { data, work } = directories;
  const { identity } = await runAs(source.user);
  const own = { mode: 0o600, owner: identity };
  for (const folder of ["lock", "spool"]) {
    await makeDirectory(join(work, folder), { mode: 0o700, owner: identity });
  }
  await rm(frozenPath(work), { force: true });
  await writeFileAtomic(join(work, "postgresql.conf"), "", own);
  await writeFileAtomic(join(work, "hba.conf"), "local all all peer map=private\n", own);
  await writeFileAtomic(
    join(work, "ident.conf"),
    [...new Set([source.user, ...(isRoot() ? ["root"] : [])])]
      .map((user) => `private ${user} postgres\n`)
      .join(""),
    own,
  );
  await rm(join(data, "recovery.signal"), { force: true });
  await writeFileAtomic(join(data, "standby.signal"), "", own);
  return await launch(options);
}

/**
 * Ends a server on this data directory, whoever started it: one that nobody keeps is killed with
 * all its processes, another one is shut down in order.
 *
 * @throws CtmError `deadline-passed`
 */
export async function stopServer(
  { data }: InstanceDirectories,
  mode: "fast" | "immediate",
): Promise<void> {
  const pid = await serverPid(data);
  if (pid === undefined) return;
  // SIGINT is a fast shutdown, SIGQUIT an immediate one, which leaves the files as they are.
  signal(pid, mode === "fast" ? "SIGINT" : "SIGQUIT");
  await waitFor(`the server on ${data} to stop`, stopTimeoutMs, async () =>
    (await serverPid(data)) === pid ? undefined : true,
  );
}

/** The server that runs on a data directory, by its pid file, if that is still true. */
export async function serverPid(data: string): Promise<number | undefined> {
  const [first = ""] = ((await readFileIfExists(join(data, "postmaster.pid"))) ?? "").split("\n");
  const pid = Number(first);
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
  try {
    // A pid may be another's by now; PostgreSQL stands in its data directory.
    return (await readlink(`/proc/${pid}/cwd`)) === data ? pid : undefined;
  } catch {
    return undefined;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "ESRCH") throw error;
  }
}

async function launch(options: InstanceOptions): Promise<Instance> {
  const { source, directories, binaries } = options;
  const { identity } = await runAs(source.user);
  const settings = {
    ...(await serverSettings(options)),
    ...recoverySettings(options),
  };
  const log = await open(join(directories.work, "log"), "a", 0o600);
  try {
    // In a session of its own: Ctrl-C reaches it through us, and a released one stays.
    const child = spawn(
      join(binaries, "postgres"),
      [
        "-D",
        directories.data,
        // On the command line, for postgresql.auto.conf of the backup would win over a file.
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      {
        cwd: "/",
        env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C.UTF-8", TZ: "UTC" },
        stdio: ["ignore", log.fd, log.fd],
        detached: true,
        ...identity,
      },
    );
    return instanceOf(options, child);
  } finally {
    await log.close();
  }
}

function instanceOf(options: InstanceOptions, child: ChildProcess): Instance {
  const { work } = options.directories;
  const logPath = join(work, "log");
  let over: string | undefined;
  child.once("error", (error) => (over = messageOf(error)));
  child.once("exit", (code, by) => (over = `it ended with ${by ?? `exit code ${code}`}`));
  const connection = { host: work, port: 5432, user: "postgres", database: "postgres" };
  const log = async (): Promise<string> => (await readFileIfExists(logPath)) ?? "";
  const query: Instance["query"] = async <Row extends object>(
    sql: string,
    parameters: readonly unknown[] = [],
  ) =>
    await connected(connection, async (client) => {
      const { rows } = await client.query<Row>(sql, [...parameters]);
      return rows;
    });
  return {
    options,
    connection,
    log,
    query,
    async ended() {
      return over === undefined ? undefined : `${over}${lastComplaint(await log())}`;
    },
    async freeze() {
      await writeFile(frozenPath(work), "");
    },
    async promote() {
      await query("SELECT pg_promote(true, $1)", [promoteSeconds]);
      const [row] = await query<{ timeline: number | null }>(
        `SELECT CASE WHEN NOT pg_is_in_recovery()
                  THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
                END AS timeline`,
      );
      if (row?.timeline !== null && row?.timeline !== undefined) return row.timeline;
      throw new CtmError(
        "promotion-failed",
        `the restored server stays in recovery${lastComplaint(await log())}`,
        { next: `less ${logPath}` },
      );
    },
    release() {
      child.unref();
    },
  };
}

/** The newest lines of a server's log that say what is wrong, as the end of a sentence. */
export function lastComplaint(log: string): string {
  const lines = log
    .split("\n")
    .filter((line) => /(?:FATAL|PANIC|ERROR|HINT): /.test(line))
    .map((line) => line.replace(/^.*?((?:FATAL|PANIC|ERROR|HINT): )/, "$1").replaceAll(/\s+/g, " "))
    .slice(-2);
  return lines.length === 0 ? "" : `: ${lines.join("; ")}`;
}

function frozenPath(work: string): string {
  return join(work, "frozen");
}

/** What keeps the server private and small, over whatever the backup's own files say. */
async function serverSettings(options: InstanceOptions): Promise<Record<string, string>> {
  const { directories, archiveCommand } = options;
  const { work } = directories;
  const scratch = {
    fsync: "off",
    full_page_writes: "off",
    synchronous_commit: "off",
    autovacuum: "off",
    // A crash of what is looked at must be seen, not repaired.
    restart_after_crash: "off",
  };
  return {
    config_file: join(work, "postgresql.conf"),
    hba_file: join(work, "hba.conf"),
    ident_file: join(work, "ident.conf"),
    listen_addresses: "",
    port: "5432",
    unix_socket_directories: work,
    unix_socket_permissions: "0700",
    ssl: "off",
    shared_preload_libraries: "",
    session_preload_libraries: "",
    local_preload_libraries: "",
    synchronous_standby_names: "",
    primary_conninfo: "",
    primary_slot_name: "",
    archive_cleanup_command: "",
    recovery_end_command: "",
    archive_library: "",
    archive_mode: archiveCommand === null ? "off" : "on",
    archive_command: archiveCommand ?? "",
    hot_standby: "on",
    // How soon a segment that is missing is asked for again: nobody streams to us.
    wal_retrieve_retry_interval: "1s",
    // A backup of the whole cluster stands beside it: the live members come first.
    shared_buffers: `${Math.floor(Math.min(256 * mebibyte, Math.max(32 * mebibyte, totalmem() / 32)) / mebibyte)}MB`,
    huge_pages: "off",
    max_wal_size: "2GB",
    checkpoint_timeout: "30min",
    logging_collector: "off",
    log_destination: "stderr",
    log_line_prefix: "%m [%p] ",
    log_min_messages: "warning",
    log_timezone: "UTC",
    timezone: "UTC",
    lc_messages: "C",
    log_connections: "off",
    log_statement: "none",
    log_min_duration_statement: "-1",
    ...(archiveCommand === null ? scratch : {}),
    ...(await leastSettings(options)),
  };
}

/** A standby that has less of these than its primary had would stop (https://www.postgresql.org/docs/15/hot-standby.html). */
async function leastSettings(options: InstanceOptions): Promise<Record<string, string>> {
  const { binaries, directories, source } = options;
  const { stdout } = await run(join(binaries, "pg_controldata"), ["-D", directories.data], {
    ...(await runAs(source.user)),
    cwd: "/",
    env: { LC_ALL: "C.UTF-8" },
  });
  return Object.fromEntries(
    [...stdout.matchAll(/^(max_\w+) setting: +(\d+)$/gm)].map(([, name = "", value = ""]) => [
      name.replace("_xacts", "_transactions").replace("_xact", "_transaction"),
      value,
    ]),
  );
}

function recoverySettings({
  source,
  directories,
  timeline,
  stop,
}: InstanceOptions): Record<string, string> {
  const fetch = ["pgbackrest", ...backrestOptions(source, directories)].map(quoted).join(" ");
  return {
    // Prefetched: one segment at a time is slower than its replay.
    restore_command: `test ! -e ${quoted(frozenPath(directories.work))} && ${fetch} --archive-async --archive-get-queue-max=512MiB --log-level-console=off --log-level-stderr=error archive-get %f "%p"`,
    recovery_target_timeline: String(timeline),
    recovery_target_action: "pause",
    recovery_target_inclusive: stop.kind === "lsn" && !stop.inclusive ? "off" : "on",
    // Whatever the backup's files say; the one that holds comes last, for two at once are refused.
    recovery_target_time: "",
    recovery_target_xid: "",
    recovery_target_name: "",
    ...(stop.kind === "lsn"
      ? { recovery_target: "", recovery_target_lsn: formatLsn(stop.lsn) }
      : {
          recovery_target_lsn: "",
          recovery_target: stop.kind === "consistent" ? "immediate" : "",
        }),
  };
}

/** One word of a shell command inside restore_command, where % is PostgreSQL's. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`).replaceAll("%", "%%")}'`;
}
