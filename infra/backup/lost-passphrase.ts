import { readdir } from "node:fs/promises";
import { CtmError, isMissing, readFileIfExists } from "#system";

/** Where a repository is, and the file with what opens it. */
export interface Lock {
  repository: string;
  credential: string;
}

/** Generated ones have 43 characters; what is shorter was never one of ours. */
const leastCharacters = 41;

/** A secret that this project generated, as its file holds it; undefined for anything else. */
export async function readGenerated(path: string, prefix: string): Promise<string | undefined> {
  const text = (await readFileIfExists(path))?.trimEnd();
  return text?.startsWith(prefix) === true && text.length >= leastCharacters ? text : undefined;
}

/** Whether a repository holds anything that no file of this machine opens; Pulumi's state may. */
export async function isPassphraseLost({ repository, credential }: Lock): Promise<boolean> {
  if ((await readGenerated(credential, "")) !== undefined) return false;
  const content: string[] = await readdir(repository).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  return content.length > 0;
}

/** Another passphrase would shut the old backups away, and pgBackRest out of its repository. */
export function passphraseLost({ repository, credential }: Lock): CtmError {
  return new CtmError(
    "passphrase-lost",
    `${repository} holds backups, and their passphrase is neither in ${credential} nor in Pulumi's state; another one does not open them, so none was made`,
    {
      next: "docs/runbooks/lost-passphrase.md: it is in the escrow, and in each member's pgbackrest.conf",
      exitCode: 2,
    },
  );
}
