import { join } from "node:path";
import { z } from "zod";
import { makeDirectory, readFileIfExists, writeFileAtomic } from "#system";

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

/**
 * The path in `kept/STACK-TIME` to move something to; makes the folder. TIME is when the first
 * resource of this removal was deleted: a file in the state folder, which goes last, remembers it.
 */
export async function keptPath(keep: Keep): Promise<string> {
  const note = join(keep.stateDirectory, "kept-as");
  let directory = (await readFileIfExists(note))?.trim();
  if (directory === undefined) {
    const time = new Date().toISOString().replaceAll(/[:-]|\.\d+/g, "");
    directory = join(keep.kept, `${keep.stack}-${time}`);
    await makeDirectory(keep.stateDirectory, { mode: 0o755 });
    await writeFileAtomic(note, `${directory}\n`, { mode: 0o644 });
  }
  await makeDirectory(keep.kept, { mode: 0o755 });
  await makeDirectory(directory, { mode: 0o755 });
  return join(directory, keep.name);
}
