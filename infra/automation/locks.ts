import { readdir, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { parseJson, readFileIfExists, waitFor } from "#system";
import { takeLock, type Lock } from "../../bin/lock.js";
import { hasBrokenCheckpoint, mendCheckpoint } from "./checkpoint.ts";
import type { Workspace } from "./environment.ts";

/** What the file backend writes into a lock. */
const lockSchema = z.object({ pid: z.int(), hostname: z.string(), username: z.string() });

/** Longest wait for another run: as long as a large stack's first `up` may take. */
const waitTimeoutMs = 60 * 60_000;

/** A stack, and the folder of our own file backend that its state is in. */
type Place = Pick<Workspace, "stack" | "paths" | "fileBackend">;

/**
 * Waits until no other run works on the stack, and keeps others waiting until this process, and the
 * engine that it starts, have ended: however they end.
 */
export async function takeTurn(
  workspace: Workspace,
  report: (line: string) => void,
): Promise<void> {
  const { descriptor } = await lockStack(workspace, report);
  workspace.lockDescriptor = descriptor;
}

/**
 * Mends the state in our own file backend that a killed run left broken. Commands that change nothing
 * come here too, so others are kept out only while there is something to mend.
 *
 * @throws CtmError `pulumi-state-broken`
 */
export async function mendState(place: Place, report: (line: string) => void): Promise<void> {
  if (place.fileBackend === undefined || !(await hasBrokenCheckpoint(place.paths))) return;
  const lock = await lockStack(place, report);
  lock.release();
}

/** Takes the stack for this process, with everything set right that killed runs left. */
async function lockStack(place: Place, report: (line: string) => void): Promise<Lock> {
  const path = join(place.paths.pulumi, `${place.stack}.lock`);
  const lock = await takeLock(path, (holder) =>
    report(`waiting for another run on this stack (pid ${holder})`),
  );
  try {
    await waitForLocks(place, report);
    // A run that was waited for may have been killed, too.
    if (place.fileBackend !== undefined) await mendCheckpoint(place.paths, report);
    return lock;
  } catch (error) {
    lock.release();
    throw error;
  }
}

/**
 * Clears the locks that killed runs left in our file backend, and waits for runs that are alive.
 * Locks of other machines, and of other backends, are left to Pulumi.
 */
async function waitForLocks(
  { stack, fileBackend }: Place,
  report: (line: string) => void,
): Promise<void> {
  if (fileBackend === undefined) return;
  const folder = join(fileBackend, ".pulumi/locks/organization/ctm", stack);
  let told = "";
  await waitFor(
    "another run on this stack to end",
    waitTimeoutMs,
    async () => {
      const living: string[] = [];
      for (const name of await readdir(folder).catch(() => [])) {
        const path = join(folder, name);
        const holder = await holderOf(path);
        if (holder === undefined) continue;
        if (holder === "dead") await rm(path, { force: true });
        else living.push(holder);
      }
      if (living.length === 0) return true;
      const line = `waiting for another run on this stack (${living.join(", ")})`;
      if (line !== told) report((told = line));
      throw new Error(line);
    },
    { intervalMs: 500, next: "let it end, or end it" },
  );
}

async function holderOf(path: string): Promise<string | undefined> {
  const text = await readFileIfExists(path);
  if (text === undefined) return undefined;
  const lock = lockSchema.safeParse(parseJson(text));
  // Half a lock is one whose writer died while writing it.
  if (!lock.success) return "dead";
  const { pid, hostname: host, username } = lock.data;
  if (host !== hostname()) return `${username} on ${host}`;
  // A pid is used again after a reboot: only a pulumi process can hold a lock.
  const name = (await readFileIfExists(`/proc/${pid}/comm`))?.trim();
  return name === "pulumi" ? `pid ${pid}` : "dead";
}
