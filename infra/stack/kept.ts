import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { exists, makeDirectory, readFileIfExists, writeFileAtomic } from "#system";

/** What a resource needs to know to keep its file or folder when it is deleted. */
export const keepSchema = z.strictObject({
  /** The stack's state folder. */
  stateDirectory: z.string().startsWith("/"),
  /** The folder of everything that was kept, of all stacks. */
  kept: z.string().startsWith("/"),
  stack: z.string(),
  /** Name of the file or folder inside `kept/STACK-TIME`. */
  name: z.string().min(1),
});
export type Keep = z.infer<typeof keepSchema>;

/** One at a time: two deletions at once must agree on one folder. */
let previous: Promise<unknown> = Promise.resolve();

/**
 * The path in `kept/STACK-TIME` to move something to; makes the folder. TIME is when the first
 * resource of this removal was deleted: a file in the state folder, which goes last, remembers it.
 */
export async function keptPath(keep: Keep): Promise<string> {
  const directory = previous.then(() => folderOf(keep));
  previous = directory.catch(() => undefined);
  return join(await directory, keep.name);
}

/** What is made anew was replaced, not removed with its stack: the next removal is another one. */
export async function endRemoval(keep: Keep | null): Promise<void> {
  if (keep !== null) await rm(noteOf(keep), { force: true });
}

async function folderOf(keep: Keep): Promise<string> {
  const noted = (await readFileIfExists(noteOf(keep)))?.trim();
  await makeDirectory(keep.kept, { mode: 0o755 });
  if (noted !== undefined) {
    await makeDirectory(noted, { mode: 0o755 });
    return noted;
  }
  const directory = await newFolder(keep);
  await makeDirectory(keep.stateDirectory, { mode: 0o755 });
  await writeFileAtomic(noteOf(keep), `${directory}\n`, { mode: 0o644 });
  return directory;
}

/** A folder that nobody has: what an earlier removal kept is never overwritten. */
async function newFolder(keep: Keep): Promise<string> {
  const time = new Date().toISOString().replaceAll(/[:-]|\.\d+/g, "");
  const first = join(keep.kept, `${keep.stack}-${time}`);
  let directory = first;
  for (let count = 2; await exists(directory); count += 1) directory = `${first}-${count}`;
  await makeDirectory(directory, { mode: 0o755 });
  return directory;
}

function noteOf(keep: Keep): string {
  return join(keep.stateDirectory, "kept-as");
}
