import { fileURLToPath } from "node:url";
import { run } from "#system";

/**
 * The commit of this checkout, with `-dirty` when files of `database/` differ from it; undefined
 * outside a git checkout.
 */
export async function repositoryRevision(): Promise<string | undefined> {
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  try {
    const head = await run("git", ["rev-parse", "HEAD"], { cwd });
    const changes = await run("git", ["status", "--porcelain", "--", "."], { cwd });
    return `${head.stdout.trim()}${changes.stdout.trim() === "" ? "" : "-dirty"}`;
  } catch {
    return undefined;
  }
}
