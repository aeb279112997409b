import { readdir, readFile, readlink } from "node:fs/promises";
import { waitFor } from "#system";
import { stackMark } from "./supervisor.ts";

/**
 * Processes that belong to a stack: those whose environment carries its mark, and those that work
 * inside its state folder (PostgreSQL overwrites the environment that /proc shows).
 *
 * @param options.postgres false leaves PostgreSQL's own processes out
 */
export async function stackProcesses(
  stackDirectory: string,
  options: { postgres: boolean } = { postgres: true },
): Promise<number[]> {
  const mark = `${stackMark}=${stackDirectory}`;
  const pids: number[] = [];
  for (const entry of await readdir("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    if (!(await belongs(pid, mark, stackDirectory))) continue;
    if (options.postgres || (await nameOf(pid)) !== "postgres") pids.push(pid);
  }
  return pids;
}

async function belongs(pid: number, mark: string, directory: string): Promise<boolean> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, "latin1");
    if (environment.split("\0").includes(mark)) return true;
    // Only PostgreSQL: a person's shell may well stand in the folder.
    return (
      (await nameOf(pid)) === "postgres" &&
      (await readlink(`/proc/${pid}/cwd`)).startsWith(`${directory}/`)
    );
  } catch {
    // Gone meanwhile, or another user's.
    return false;
  }
}

/**
 * Ends processes that outlived their supervisor: asks first, then kills, and waits until they are
 * gone. PostgreSQL's fast shutdown is SIGINT.
 */
export async function endProcesses(pids: readonly number[], graceMs: number): Promise<void> {
  if (pids.length === 0) return;
  const signal = (pid: number, name: NodeJS.Signals): void => {
    try {
      process.kill(pid, name);
    } catch {
      // Gone meanwhile.
    }
  };
  for (const pid of pids) {
    signal(pid, (await nameOf(pid)) === "postgres" ? "SIGINT" : "SIGTERM");
  }
  const gone = async (): Promise<true | undefined> =>
    (await Promise.all(pids.map(isAlive))).some(Boolean) ? undefined : true;
  try {
    await waitFor("left-over processes to end", graceMs, gone);
  } catch {
    for (const pid of pids) signal(pid, "SIGKILL");
    await waitFor(`processes ${pids.join(", ")} to die`, 10_000, gone);
  }
}

async function nameOf(pid: number): Promise<string> {
  return (await readFile(`/proc/${pid}/comm`, "latin1").catch(() => "")).trim();
}

/** False for a zombie too: nothing of it runs any more. */
async function isAlive(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, "latin1").catch(() => "");
  return status !== "" && !/^State:\s+Z/m.test(status);
}
