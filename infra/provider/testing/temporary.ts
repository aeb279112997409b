import { chown, mkdtemp } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { identityOf, makeDirectory } from "#system";

/** Who runs the tests. */
export const ownUser = userInfo().username;

/** A folder of a test's own, which other OS users may enter. */
export async function temporaryFolder(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `ctm-${name}-`));
  await makeDirectory(folder, { mode: 0o755 });
  return folder;
}

/** Makes a file or folder another user's, as only root can. */
export async function giveToNobody(path: string): Promise<void> {
  const { uid, gid } = await identityOf("nobody");
  await chown(path, uid, gid);
}
