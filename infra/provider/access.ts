import { stat } from "node:fs/promises";
import { findIdentity, isMissing, isRoot } from "#system";

/**
 * Mode (octal text, such as "0700") and owner of a file or folder; undefined when it is missing.
 * The owner is named as `expectedOwner` when it is that user's. Ordinary users own all that they
 * make, so that only root looks.
 */
export async function accessOf(
  path: string,
  expectedOwner: string,
): Promise<{ mode: string; owner: string } | undefined> {
  try {
    const found = await stat(path);
    const owner = await findIdentity(expectedOwner);
    return {
      mode: `0${(found.mode & 0o777).toString(8).padStart(3, "0")}`,
      owner: !isRoot() || owner?.uid === found.uid ? expectedOwner : `uid ${found.uid}`,
    };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
