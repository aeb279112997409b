import { CtmError, readFileIfExists, systemErrorCode } from "#system";

/**
 * Reads what `up` wrote for the user that ran it; undefined where it is not there.
 *
 * @throws CtmError `no-permission`
 */
export async function readOwn(path: string): Promise<string | undefined> {
  try {
    return await readFileIfExists(path);
  } catch (error) {
    if (systemErrorCode(error) !== "EACCES") throw error;
    throw new CtmError("no-permission", `${path} cannot be read by this user`, {
      next: "run as the user that ran up (often root)",
    });
  }
}
