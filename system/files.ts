import { randomBytes } from "node:crypto";
import { chmod, chown, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";

/** Numeric owner of a file or process. */
export interface Identity {
  uid: number;
  gid: number;
}

/** Writes a whole file or nothing: a reader sees the old content or the new, never a part. */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: { mode: number; owner?: Identity | undefined },
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.new`;
  try {
    const handle = await open(temporary, "wx", options.mode);
    try {
      await handle.chmod(options.mode);
      if (options.owner !== undefined) await handle.chown(options.owner.uid, options.owner.gid);
      await handle.writeFile(content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Makes a directory and its missing parents; sets mode and owner on the last one. */
export async function makeDirectory(
  path: string,
  options: { mode: number; owner?: Identity | undefined },
): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o755 });
  await chmod(path, options.mode);
  if (options.owner !== undefined) await chown(path, options.owner.uid, options.owner.gid);
}

/** The file's text, or undefined when there is no such file. */
export async function readFileIfExists(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** The names in a folder; none when there is no such folder. */
export async function readDirectoryIfExists(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** True for "no such file or directory", also when a parent is a file. */
export function isMissing(error: unknown): boolean {
  const code = systemErrorCode(error);
  return code === "ENOENT" || code === "ENOTDIR";
}

/** The code of a system error (`EACCES`, `ENOSPC` …), or undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
