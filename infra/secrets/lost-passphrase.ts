import { CtmError, readDirectoryIfExists } from "#system";

/**
 * Why no other passphrase may be made: it would shut the old backups away, and pgBackRest out of its
 * repository. Undefined where the repository holds nothing.
 *
 * @param credential the file that the passphrase is lost from
 */
export async function passphraseLost(
  repository: string,
  credential: string,
): Promise<CtmError | undefined> {
  const content = await readDirectoryIfExists(repository);
  if (content.length === 0) return undefined;
  return new CtmError(
    "passphrase-lost",
    `${repository} holds backups, and their passphrase is neither in ${credential} nor in Pulumi's state; another one does not open them, so none was made`,
    {
      next: "docs/runbooks/lost-passphrase.md: it is in the escrow, and in each member's pgbackrest.conf",
      exitCode: 2,
    },
  );
}
