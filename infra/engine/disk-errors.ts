import { CtmError, systemErrorCode } from "#system";

/**
 * Runs an action on the disk. What the system refuses becomes an error that a person can act on;
 * other errors pass.
 *
 * @param doing what is done, as it begins the sentence "…: permission denied"
 * @throws CtmError `disk-full`, or `refused.code`
 */
export async function onDisk<T>(
  doing: string,
  folder: string,
  refused: { code: string; next: string },
  action: () => Promise<T>,
): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const code = systemErrorCode(error);
    if (!(error instanceof Error) || code === undefined) throw error;
    const what = `${doing}: ${error.message}`;
    if (code === "ENOSPC") {
      const next = `free 1 GB on the disk of ${folder} and run again`;
      throw new CtmError("disk-full", what, { next, cause: error });
    }
    // Node says ENOENT where making a folder and its parents meets a read-only disk.
    if (["EACCES", "EPERM", "EROFS", "ENOTDIR", "ENOENT"].includes(code)) {
      throw new CtmError(refused.code, what, { next: refused.next, cause: error });
    }
    throw error;
  }
}
