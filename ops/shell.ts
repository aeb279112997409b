import { spawn } from "node:child_process";
import { $ as zx, type Shell } from "zx/core";
import type { Identity } from "#system";
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

/** The caller's environment, less what would change the meaning or the words of a program. */
export function cleanEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    // PG…: libpq's defaults, and PGBACKREST_… options that override a configuration file.
    ([name]) => !name.startsWith("PG") && !name.startsWith("LC_") && !/^LANG(UAGE)?$/.test(name),
  );
  return { ...Object.fromEntries(kept), LC_ALL: "C.UTF-8", TZ: "UTC" };
}
