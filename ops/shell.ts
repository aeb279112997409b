import { spawn } from "node:child_process";
import { $ as zx, type ProcessOutput, type ProcessPromise, type Shell } from "zx/core";
import { systemErrorCode, type Identity } from "#system";
import type { Context } from "./command.ts";

/**
 * zx's shell for on-call commands: nothing is printed, an exit code is an answer and not an
 * exception, Ctrl-C ends what runs, and the caller's folder, locale, time zone and PostgreSQL
 * variables reach no program.
 *
 * @param identity numeric OS user to run as, as `runAs` of #system returns it
 */
export function createShell(
  context: Pick<Context, "env" | "signal">,
  { identity }: { identity?: Identity } = {},
): Shell {
  return zx({
    quiet: true,
    nothrow: true,
    cwd: "/",
    env: cleanEnvironment(context.env),
    signal: context.signal,
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- spawn's overloads, of which zx calls one
    spawn: ((command: string, args: string[], options: object) =>
      spawn(command, args, { ...options, ...identity })) as typeof spawn,
  });
}

/**
 * Calls `onLine` with each line that a program of `createShell` prints, as it comes, and returns how
 * the program ended. Ctrl-C is one of the ways to end, and no exception.
 */
export async function readLines(
  running: ProcessPromise,
  onLine: (line: string) => void,
): Promise<ProcessOutput> {
  try {
    for await (const line of running) onLine(line);
  } catch (error) {
    // zx closes the output of a program that its signal ended, whether it was read or not.
    if (systemErrorCode(error) !== "ERR_STREAM_PREMATURE_CLOSE") throw error;
  }
  return await running;
}

/** The caller's environment, less what would change the meaning or the words of a program. */
export function cleanEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    // PG…: libpq's defaults, and PGBACKREST_… options that override a configuration file.
    ([name]) => !name.startsWith("PG") && !name.startsWith("LC_") && !/^LANG(UAGE)?$/.test(name),
  );
  return { ...Object.fromEntries(kept), LC_ALL: "C.UTF-8", TZ: "UTC" };
}
