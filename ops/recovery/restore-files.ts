import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { endProcesses } from "#runtime";
import { CtmError, makeDirectory, runAs, systemErrorCode } from "#system";
import type { Context } from "../command.ts";
import { backrestFailure } from "../facts/repository.ts";
import { createShell, readLines } from "../shell.ts";

/** Where files and WAL come from, and which OS user may read it. */
export interface RecoverySource {
  /** pgBackRest's configuration, with this repository as repo1; its pg1-path, locks, spool and log are not used. */
  configuration: string;
  stanza: string;
  /** OS user that runs PostgreSQL. */
  user: string;
}

/** Folders of an instance: PostgreSQL's data, and what ctm keeps beside it. */
export interface InstanceDirectories {
  /** PGDATA. */
  data: string;
  /** Configuration, socket, log, spool and locks of the private server. */
  work: string;
}

/** An instance whose data stands inside its own folder. */
export function instanceDirectories(directory: string): InstanceDirectories {
  return { data: join(directory, "data"), work: directory };
}

/**
 * Restores a backup's files, without any WAL; `startInstance` replays that.
 *
 * @param options.set label of the backup
 * @param options.delta keep what is equal already in a data directory that is not empty
 * @throws CtmError `restore-failed`, `directory-not-empty`, `no-permission`
 */
export async function restoreFiles(
  source: RecoverySource,
  directories: InstanceDirectories,
  options: { set: string; delta?: boolean },
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<{ tookMs: number }> {
  const asUser = await runAs(source.user);
  const owned = { mode: 0o700, owner: asUser.identity };
  await makeDirectory(directories.work, owned);
  await makeDirectory(directories.data, owned);
  await makeDirectory(join(directories.work, "tablespaces"), owned);
  const begun = Date.now();
  context.progress.step(`restoring the files of ${options.set}`);
  const shell = createShell(context, asUser);
  const running = shell`pgbackrest ${backrestOptions(source, directories)} --set=${options.set} --type=none --tablespace-map-all=${join(directories.work, "tablespaces")} ${options.delta === true ? "--delta" : "--no-delta"} --log-level-console=detail --log-level-stderr=off restore`;
  const finished = await readLines(running, (line) => {
    const percent = /, (\d+)\.\d+%\)/.exec(line)?.[1];
    if (percent !== undefined) context.progress.detail(`${percent} %`);
  });
  if (!finished.ok) {
    throw new CtmError("restore-failed", `${options.set}: ${backrestFailure(finished)}`, {
      next: "ctm backup list",
    });
  }
  return { tookMs: Date.now() - begun };
}

const orphanGraceMs = 10_000;

/**
 * Ends what of pgBackRest still writes into an instance: its workers outlive a main process that was
 * killed, and the one that fetches WAL ahead outlives the server that asked for it.
 */
export async function endRestores({ data }: InstanceDirectories): Promise<void> {
  const pids: number[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    // One that ended meanwhile has no command any more.
    const words = await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "");
    const command = words.split("\0");
    if (!command.includes(`--pg1-path=${data}`)) continue;
    if (command.some((word) => /^(?:restore|archive-get)(?::|$)/.test(word))) {
      pids.push(Number(entry));
    }
  }
  await endProcesses(pids, orphanGraceMs);
}

/** What every call of pgBackRest for an instance has: nothing of it is shared with the live members. */
export function backrestOptions(
  { configuration, stanza }: RecoverySource,
  { data, work }: InstanceDirectories,
): string[] {
  return [
    `--config=${configuration}`,
    `--stanza=${stanza}`,
    "--repo=1",
    `--pg1-path=${data}`,
    `--lock-path=${join(work, "lock")}`,
    `--spool-path=${join(work, "spool")}`,
    `--log-path=${work}`,
    "--log-level-file=off",
  ];
}

/**
 * Makes the folder of a new instance, for the PostgreSQL user alone.
 *
 * @throws CtmError `directory-exists` (exit 2): nothing that is there is ever written over
 */
export async function makeInstanceDirectory(directory: string, user: string): Promise<void> {
  const { identity } = await runAs(user);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
    throw new CtmError("directory-exists", `${directory} exists already`, {
      next: "name a folder that does not exist; its parent has to",
      exitCode: 2,
      cause: error,
    });
  }
  await makeDirectory(directory, { mode: 0o700, owner: identity });
}
