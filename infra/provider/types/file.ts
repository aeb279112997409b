import { rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import {
  exists,
  identityOf,
  isRoot,
  makeDirectory,
  readFileIfExists,
  writeFileAtomic,
} from "#system";
import { endRemoval, keepSchema, keptPath } from "#stack";
import { accessOf } from "../access.ts";
import { defineResourceType, type AnyResourceType } from "../resource-type.ts";

/** A file's content with who may read it. */
export const fileContent = z.strictObject({
  content: z.string(),
  mode: z.string().regex(/^0[0-7]{3}$/),
  /** OS user. */
  owner: z.string().min(1),
});
export type FileContent = z.infer<typeof fileContent>;

const inputs = fileContent.extend({
  path: z.string().startsWith("/"),
  keep: keepSchema.nullable(),
});
export type FileInputs = z.infer<typeof inputs>;

/** A file that no single service owns, such as the descriptor. */
export const file = defineFileType("ctm:host:File", []);

/** As a file, its content encrypted in the state and never shown. */
export const secretFile = defineFileType("ctm:host:SecretFile", ["content"]);

function defineFileType(token: string, secrets: readonly "content"[]): AnyResourceType {
  return defineResourceType<FileInputs, FileInputs>({
    token,
    inputs,
    secrets,
    replacedBy: ["path"],
    ignoredInDiff: ["keep"],
    async create(wanted) {
      await writeContent(wanted.path, wanted);
      await endRemoval(wanted.keep);
      return { id: wanted.path, outputs: wanted };
    },
    async read(_id, state) {
      const found = await readContent(state.path, state.owner);
      return found === undefined ? undefined : { ...found, path: state.path, keep: state.keep };
    },
    async update(_id, _state, wanted) {
      await writeContent(wanted.path, wanted);
      return wanted;
    },
    async delete(_id, state) {
      if (state.keep !== null && (await exists(state.path))) {
        await rename(state.path, await keptPath(state.keep));
      }
      await rm(state.path, { force: true });
    },
  });
}

export async function writeContent(path: string, wanted: FileContent): Promise<void> {
  await makeDirectoryOf(path);
  await writeFileAtomic(path, wanted.content, {
    mode: Number.parseInt(wanted.mode, 8),
    ...(isRoot() ? { owner: await identityOf(wanted.owner) } : {}),
  });
}

async function makeDirectoryOf(path: string): Promise<void> {
  if (!(await exists(dirname(path)))) await makeDirectory(dirname(path), { mode: 0o755 });
}

/** The file as found, its owner named as `expectedOwner` when it is that user's. */
export async function readContent(
  path: string,
  expectedOwner: string,
): Promise<FileContent | undefined> {
  const content = await readFileIfExists(path);
  const access = content === undefined ? undefined : await accessOf(path, expectedOwner);
  return content === undefined || access === undefined ? undefined : { content, ...access };
}
