import { randomBytes } from "node:crypto";
import { chmod, mkdir, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { run } from "#system";
import { takeLock } from "../../bin/lock.js";
import type { Artifact } from "./artifacts.ts";
import { buildInto, isExecutable } from "./build.ts";
import { elapsedSince } from "./elapsed.ts";
import { onDisk } from "./disk-errors.ts";
import { type Downloads, DownloadUnavailable } from "./download.ts";

export interface ObtainOptions {
  /** Searched in order; the first is written. */
  caches: readonly [string, ...string[]];
  downloads: Downloads;
  report: (line: string) => void;
  env: NodeJS.ProcessEnv;
  /** Where to look for Go after PATH. */
  goFolders?: readonly string[];
}

/**
 * The folder of an artifact: cached, else downloaded, else built. A finished folder appears at once
 * by its rename, so a killed run leaves nothing that looks finished, and two runs never do the same
 * work: the second waits.
 *
 * @throws CtmError `disk-full`, `cache-not-writable`, and those of download and build
 */
export async function obtain(artifact: Artifact, options: ObtainOptions): Promise<string> {
  const cached = await findCached(artifact, options.caches);
  if (cached !== undefined) return cached;
  const parent = dirname(join(options.caches[0], artifact.folder));
  const refused = {
    code: "cache-not-writable",
    next: "set CTM_CACHE to a folder that you may write",
  };
  return onDisk(`getting ${artifact.title}`, parent, refused, () =>
    fill(artifact, parent, options),
  );
}

/** A downloaded or built artifact that is ready to use. */
async function findCached(
  artifact: Artifact,
  caches: readonly string[],
): Promise<string | undefined> {
  for (const cache of caches) {
    for (const name of [artifact.folder, artifact.build?.folder]) {
      if (name === undefined) continue;
      const folder = join(cache, name);
      if (await isExecutable(join(folder, artifact.binary))) return folder;
    }
  }
  return undefined;
}

async function fill(artifact: Artifact, parent: string, options: ObtainOptions): Promise<string> {
  const { report } = options;
  await makeReadableFolder(parent);
  const name = basename(artifact.folder);
  const lock = await takeLock(join(parent, `${name}.lock`), (holder) =>
    report(`waiting for process ${holder}, which is getting ${artifact.title}`),
  );
  const partial = join(parent, `.${name}-${randomBytes(4).toString("hex")}.partial`);
  try {
    const madeMeanwhile = await findCached(artifact, options.caches);
    if (madeMeanwhile !== undefined) return madeMeanwhile;
    // We hold the lock, so what others began is abandoned.
    for (const other of await readdir(parent)) {
      if (!other.startsWith(`.${name}-`)) continue;
      await rm(join(parent, other), { recursive: true, force: true });
    }
    await mkdir(partial);
    const started = Date.now();
    const made = await downloadOrBuild(artifact, partial, options);
    await run("chmod", ["-R", "a+rX", partial]);
    const target = join(options.caches[0], made.folder);
    await rm(target, { recursive: true, force: true });
    await rename(partial, target);
    report(`${made.how} ${artifact.title} in ${elapsedSince(started)}`);
    return target;
  } finally {
    await rm(partial, { recursive: true, force: true });
    lock.release();
  }
}

async function downloadOrBuild(
  artifact: Artifact,
  partial: string,
  { downloads, ...options }: ObtainOptions,
): Promise<{ how: string; folder: string }> {
  try {
    await downloads.fetchInto(artifact, partial);
    return { how: "downloaded", folder: artifact.folder };
  } catch (error) {
    if (!(error instanceof DownloadUnavailable)) throw error;
    const { folder } = await buildInto(artifact, partial, { ...options, why: error.message });
    return { how: "built", folder };
  }
}

/** Makes a folder and what is missing above it, for every user to read, whatever our umask is. */
async function makeReadableFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) {
    await chmod(made, 0o755);
  }
}
