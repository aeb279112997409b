import { join } from "node:path";
import {
  CtmError,
  isRoot,
  makeDirectory,
  readFileIfExists,
  run,
  systemErrorCode,
  waitFor,
  identityOf,
} from "#system";
import {
  callSupervisord,
  fieldsOf,
  itemsOf,
  RpcFault,
  textOf,
  type RpcValue,
} from "./supervisor-rpc.ts";

/** Where one stack's supervisord keeps its things. */
export interface SupervisorPaths {
  /** supervisord.conf. */
  configuration: string;
  /** Folder of one file a program, included by the configuration. */
  programs: string;
  socket: string;
  pidFile: string;
  log: string;
  /** The stack's state folder: marks every process that descends from this supervisord. */
  stackDirectory: string;
}

/** A folder that must exist before services start, made again after a reboot emptied /run. */
export interface RuntimeDirectory {
  path: string;
  /** OS user. */
  owner: string;
  /** Octal text, such as "0700". */
  mode: string;
}

/** One program for supervisord to keep running. */
export interface Program {
  name: string;
  command: readonly string[];
  user: string;
  environment: Readonly<Record<string, string>>;
  log: string;
  /** Seconds between the stop signal and kill -9. */
  stopWaitSeconds: number;
  stopSignal: "TERM" | "INT" | "USR1";
  /** Lower starts earlier and stops later. */
  priority: number;
}

export type ProgramState =
  | "STOPPED"
  | "STARTING"
  | "RUNNING"
  | "BACKOFF"
  | "STOPPING"
  | "EXITED"
  | "FATAL"
  | "UNKNOWN";

/** Environment variable that every process of a stack carries: its state folder. */
export const stackMark = "CTM_STACK_DIRECTORY";

export function supervisorPaths(stack: {
  state: string;
  run: string;
  log: string;
}): SupervisorPaths {
  return {
    configuration: join(stack.state, "supervisor", "supervisord.conf"),
    programs: join(stack.state, "supervisor", "programs"),
    socket: join(stack.run, "supervisor.sock"),
    pidFile: join(stack.run, "supervisord.pid"),
    log: join(stack.log, "supervisord.log"),
    stackDirectory: stack.state,
  };
}

/** The text of supervisord.conf. */
export function supervisordConfiguration(paths: SupervisorPaths): string {
  return `; Written by ctm: changes here are undone by the next up.
[unix_http_server]
file=${paths.socket}
chmod=0700

[supervisord]
logfile=${paths.log}
logfile_maxbytes=10MB
logfile_backups=3
pidfile=${paths.pidFile}
umask=022
${isRoot() ? "user=root\n" : ""}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://${paths.socket}

[include]
files=${paths.programs}/*.conf
`;
}

/** The text of one program's file. */
export function programConfiguration(program: Program): string {
  const environment = Object.entries(program.environment)
    .map(([name, value]) => `${name}=${quoteValue(value)}`)
    .join(",");
  return `; Written by ctm: changes here are undone by the next up.
[program:${program.name}]
command=${program.command.map(quote).join(" ")}
${isRoot() ? `user=${program.user}\n` : ""}directory=/
environment=${environment}
priority=${program.priority}
autostart=true
autorestart=true
startsecs=1
startretries=10
stopsignal=${program.stopSignal}
stopwaitsecs=${program.stopWaitSeconds}
redirect_stderr=true
stdout_logfile=${program.log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
`;
}

/**
 * supervisord splits commands as a POSIX shell does, once it has cut off what looks like a comment
 * and filled in `%(here)s`, quoted or not: an empty pair of quotes parts what it looks for.
 */
function quote(argument: string): string {
  if (/[\n\r]/.test(argument)) throw new Error(`supervisord takes no line end: ${argument}`);
  const text = escapePercent(argument);
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  const escaped = text.replaceAll(/(["\\])/g, "\\$1");
  const parted = escaped.replaceAll(/(\s)([;#])/g, '$1""$2').replaceAll("(here)", '""(here)');
  return `"${parted}"`;
}

/** Values of the environment know no escapes at all. */
function quoteValue(value: string): string {
  if (/["'\n\r]|\s[;#]|\(here\)/.test(value)) {
    throw new Error(`supervisord cannot put this into an environment: ${value}`);
  }
  return `"${escapePercent(value)}"`;
}

function escapePercent(text: string): string {
  return text.replaceAll("%", "%%");
}

/** The pid of the stack's supervisord, or undefined when none runs. */
export async function supervisordPid(paths: SupervisorPaths): Promise<number | undefined> {
  const text = await readFileIfExists(paths.pidFile);
  const pid = Number(text?.trim());
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  // A pid is used again after a reboot: only a process that carries our configuration is ours.
  const commandLine = await readFileIfExists(`/proc/${pid}/cmdline`);
  return commandLine?.split("\0").includes(paths.configuration) === true ? pid : undefined;
}

/** Starts supervisord, and with it every program, unless it runs already. */
export async function startSupervisord(
  paths: SupervisorPaths,
  directories: readonly RuntimeDirectory[],
): Promise<void> {
  for (const { path, owner, mode } of directories) {
    await makeDirectory(path, {
      mode: Number.parseInt(mode, 8),
      ...(isRoot() ? { owner: await identityOf(owner) } : {}),
    });
  }
  if ((await supervisordPid(paths)) !== undefined) return;
  await run("supervisord", ["-c", paths.configuration], {
    cwd: "/",
    // Nothing of the caller's shell may reach the services: not its locale, time zone or secrets.
    env: {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      LC_ALL: "C.UTF-8",
      TZ: "UTC",
      [stackMark]: paths.stackDirectory,
    },
  });
  await waitFor("supervisord to answer on its socket", 20_000, () => programStates(paths), {
    next: `see ${paths.log}`,
  });
}

/** Stops every program in order, then supervisord itself. Succeeds when it does not run. */
export async function stopSupervisord(paths: SupervisorPaths): Promise<void> {
  const pid = await supervisordPid(paths);
  if (pid === undefined) return;
  // One that does not answer is ended all the same.
  await callSupervisord(paths.socket, "supervisor.stopAllProcesses", [], stopTimeoutMs).catch(
    () => undefined,
  );
  process.kill(pid, "SIGTERM");
  await waitFor("supervisord to end", 90_000, async () =>
    (await supervisordPid(paths)) === undefined ? true : undefined,
  );
}

/** Longest stop of one program, or of all: PostgreSQL writes a checkpoint first. */
const stopTimeoutMs = 180_000;

/** Each program's state, or undefined when supervisord does not answer. */
export async function programStates(
  paths: Pick<SupervisorPaths, "socket">,
): Promise<Map<string, ProgramState> | undefined> {
  let answer: RpcValue | undefined;
  try {
    answer = await callSupervisord(paths.socket, "supervisor.getAllProcessInfo");
  } catch (error) {
    // No socket, nobody behind it, or a supervisord that is about to end.
    if (isRpcFault(error, faults.shuttingDown)) return undefined;
    if (["ENOENT", "ECONNREFUSED", "ECONNRESET"].includes(systemErrorCode(error) ?? "")) {
      return undefined;
    }
    throw error;
  }
  const states = new Map<string, ProgramState>();
  for (const { name, statename: state } of itemsOf(answer).map(fieldsOf)) {
    const known = textOf(state);
    if (isState(known)) states.set(textOf(name), known);
  }
  return states;
}

function isState(text: string): text is ProgramState {
  return /^(STOPPED|STARTING|RUNNING|BACKOFF|STOPPING|EXITED|FATAL|UNKNOWN)$/.test(text);
}

/**
 * Reads the programs' files anew, and starts `name` with what its file says now
 * (restarting it when the file changed or `restart` is set).
 *
 * @throws CtmError `service-not-running`, with the last lines of its log
 */
export async function runProgram(
  paths: SupervisorPaths,
  name: string,
  log: string,
  options: { restart: boolean },
): Promise<void> {
  const begun = await updateProgram(paths, name);
  // One that has just begun reads its files now; a stop signal so early can be lost for good.
  if (options.restart && !begun) await stopProgram(paths, name);
  await startProgram(paths, name);
  await waitUntilRunning(paths, name, log);
}

/** Starts a program that supervisord knows, without waiting for it. */
export async function startProgram(paths: SupervisorPaths, name: string): Promise<void> {
  // Whether a program runs is what its state says: one that cannot start is tried again.
  await call(paths, "startProcess", [name, false], [faults.alreadyStarted, faults.spawnError]);
}

/** Stops a program and waits for its end. */
export async function stopProgram(paths: SupervisorPaths, name: string): Promise<void> {
  await call(paths, "stopProcess", [name], [faults.notRunning]);
}

/** Sends a signal, such as "HUP", to a running program. */
export async function signalProgram(
  paths: SupervisorPaths,
  name: string,
  signal: string,
): Promise<void> {
  await call(paths, "signalProcess", [name, signal], []);
}

/**
 * Makes supervisord do what the program's file says now: know it, know it anew, or forget it.
 *
 * @returns whether that started the program
 */
async function updateProgram(paths: SupervisorPaths, name: string): Promise<boolean> {
  // One list of one element, for historical reasons: [[added, changed, removed]].
  const [lists] = itemsOf(await call(paths, "reloadConfig", [], []));
  const [added, changed, removed] = itemsOf(lists).map((list) => itemsOf(list).includes(name));
  if (changed === true || removed === true) {
    await forgetProgram(paths, name);
  }
  if (changed !== true && added !== true) return false;
  await call(paths, "addProcessGroup", [name], [faults.alreadyAdded]);
  return true;
}

async function forgetProgram(paths: SupervisorPaths, name: string): Promise<void> {
  await call(paths, "stopProcessGroup", [name], [faults.badName]);
  await call(paths, "removeProcessGroup", [name], [faults.badName]);
}

/** supervisord's faults: https://supervisord.org/api.html. */
const faults = {
  shuttingDown: 6,
  badName: 10,
  spawnError: 50,
  alreadyStarted: 60,
  notRunning: 70,
  alreadyAdded: 90,
} as const;

async function call(
  paths: Pick<SupervisorPaths, "socket">,
  method: string,
  parameters: readonly (string | boolean)[],
  accept: readonly number[],
): Promise<RpcValue | undefined> {
  try {
    return await callSupervisord(paths.socket, `supervisor.${method}`, parameters, stopTimeoutMs);
  } catch (error) {
    if (accept.some((code) => isRpcFault(error, code))) return undefined;
    throw error;
  }
}

function isRpcFault(error: unknown, code: number): boolean {
  return error instanceof RpcFault && error.faultCode === code;
}

/** How long a program may go between STARTING and BACKOFF before it counts as failed. */
const startTimeoutMs = 30_000;

async function waitUntilRunning(paths: SupervisorPaths, name: string, log: string): Promise<void> {
  let state: ProgramState | undefined;
  try {
    await waitFor(
      `${name} to run`,
      startTimeoutMs,
      async () => {
        state = (await programStates(paths))?.get(name);
        return state === "RUNNING" || state === "FATAL" ? true : undefined;
      },
      { intervalMs: 100 },
    );
  } catch {
    // Told below, with the program's own last words.
  }
  if (state === "RUNNING") return;
  throw new CtmError(
    "service-not-running",
    `${name} is ${state ?? "unknown to supervisord"}${await lastLines(log)}`,
    { next: `ctm logs ${name}` },
  );
}

/** Stops a program and makes supervisord forget it once its file is gone. */
export async function removeProgram(paths: SupervisorPaths, name: string): Promise<void> {
  if ((await programStates(paths)) !== undefined) await forgetProgram(paths, name);
}

/** The end of a log, as an indented block to append to an error. */
export async function lastLines(log: string): Promise<string> {
  const text = await readFileIfExists(log).catch(() => undefined);
  const lines = (text ?? "").trimEnd().split("\n").slice(-8);
  return lines.join("") === "" ? "" : `; the last lines of ${log}:\n  ${lines.join("\n  ")}`;
}
