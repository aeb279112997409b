import { rename, rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import {
  CtmError,
  exists,
  identityOf,
  isRoot,
  makeDirectory,
  readDirectoryIfExists,
  readFileIfExists,
  writeFileAtomic,
} from "#system";
import { dataMark, endRemoval, keepSchema, keptPath } from "#stack";
import { accessOf } from "../access.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  path: z.string().startsWith("/"),
  /** OS user. */
  owner: z.string().min(1),
  /** Octal text, such as "0700". */
  mode: z.string().regex(/^0[0-7]{3}$/),
  /** Stack that owns what is inside; null for a folder without data of its own. */
  holdsDataOf: z.string().nullable(),
  /** How deleting keeps the folder; null when deleting removes it. */
  keep: keepSchema.nullable(),
});
export type DirectoryInputs = z.infer<typeof inputs>;

/**
 * A folder with its owner and mode. One that holds data carries a mark with its stack's name:
 * a folder with content but without our mark is somebody else's and is refused, never adopted.
 */
export const directory = defineResourceType<DirectoryInputs, DirectoryInputs>({
  token: "ctm:host:Directory",
  inputs,
  secrets: [],
  // Not by another mark: replacing would delete data that may be somebody else's.
  replacedBy: ["path"],
  ignoredInDiff: ["keep"],
  async create(wanted) {
    await prepare(wanted);
    await endRemoval(wanted.keep);
    return { id: wanted.path, outputs: wanted };
  },
  async read(_id, state) {
    const access = await accessOf(state.path, state.owner);
    if (access === undefined) return undefined;
    const mark = await readFileIfExists(dataMark(state.path));
    return { ...access, path: state.path, holdsDataOf: mark?.trim() ?? null, keep: state.keep };
  },
  async update(_id, _state, wanted) {
    await prepare(wanted);
    return wanted;
  },
  async delete(_id, state) {
    if (state.keep !== null && (await exists(state.path))) {
      await rename(state.path, await keptPath(state.keep));
    } else {
      await rm(state.path, { recursive: true, force: true });
    }
    await rm(dataMark(state.path), { force: true });
    await rmdir(dirname(state.path)).catch(() => undefined);
  },
});

async function prepare(wanted: DirectoryInputs): Promise<void> {
  if (wanted.holdsDataOf !== null) await claim(wanted.path, wanted.holdsDataOf);
  await makeDirectory(wanted.path, {
    mode: Number.parseInt(wanted.mode, 8),
    ...(isRoot() ? { owner: await identityOf(wanted.owner) } : {}),
  });
}

async function claim(path: string, stack: string): Promise<void> {
  const mark = (await readFileIfExists(dataMark(path)))?.trim();
  if (mark === stack) return;
  const content = await readDirectoryIfExists(path);
  if (mark !== undefined || content.length > 0) {
    const owner = mark === undefined ? "something that ctm did not make" : `the stack "${mark}"`;
    const what = content.includes("PG_VERSION") ? "a PostgreSQL data directory" : "data";
    throw new CtmError("foreign-data", `${path} holds ${what} of ${owner}; it is left untouched`, {
      next: `move ${path} away, or choose another place with CTM_HOME`,
    });
  }
  await makeDirectory(dirname(path), { mode: 0o755 });
  await writeFileAtomic(dataMark(path), `${stack}\n`, { mode: 0o644 });
}
