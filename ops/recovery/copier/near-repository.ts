import { randomUUID } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { isMissing, makeDirectory, writeFileAtomic } from "#system";
import { isInfo, type NearFiles, type StoredFile } from "./plan.ts";

/** Folder whose one file is named after the repository; beside pgBackRest's own two. */
const identityFolder = "ctm-identity";

/** The near repository as files. */
export class NearRepository {
  readonly #folder: string;
  readonly #stanza: string;
  /** WAL files never change: each is looked at once. */
  #wal = new Map<string, StoredFile>();

  constructor(folder: string, stanza: string) {
    this.#folder = folder;
    this.#stanza = stanza;
  }

  /** Every whole file but the info files; those that pgBackRest is writing end in .pgbackrest.tmp. */
  async list(): Promise<NearFiles> {
    const files = new Map<string, StoredFile>();
    const wal = new Map<string, StoredFile>();
    for (const part of ["archive", "backup"]) {
      for (const path of await this.#pathsBelow(part)) {
        if (isInfo(path) || path.endsWith(".pgbackrest.tmp")) continue;
        const file = this.#wal.get(path) ?? (await this.#look(path));
        if (file === undefined) continue;
        files.set(path, file);
        if (part === "archive") wal.set(path, file);
      }
    }
    this.#wal = wal;
    return files;
  }

  /** The info files and what is in them. */
  async info(): Promise<Map<string, Buffer>> {
    const files = new Map<string, Buffer>();
    for (const part of ["archive", "backup"]) {
      for (const suffix of ["", ".copy"]) {
        const path = join(part, this.#stanza, `${part}.info${suffix}`);
        try {
          files.set(path, await readFile(join(this.#folder, path)));
        } catch (error) {
          // The stanza is not made yet.
          if (!isMissing(error)) throw error;
        }
      }
    }
    return files;
  }

  /** The file whose name tells this repository from every other; made where there is none. */
  async identity(): Promise<string> {
    const [known] = await this.#pathsBelow(identityFolder);
    if (known !== undefined) return known;
    const path = join(identityFolder, randomUUID());
    await makeDirectory(join(this.#folder, identityFolder), { mode: 0o700 });
    await writeFileAtomic(
      join(this.#folder, path),
      "This name tells whether the far copy is the copy of this repository.\n",
      { mode: 0o600 },
    );
    return path;
  }

  async #pathsBelow(part: string): Promise<string[]> {
    try {
      const entries = await readdir(join(this.#folder, part), {
        recursive: true,
        withFileTypes: true,
      });
      return entries
        .filter((entry) => entry.isFile())
        .map(({ parentPath, name }) => relative(this.#folder, join(parentPath, name)));
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  async #look(path: string): Promise<StoredFile | undefined> {
    try {
      const { size, mtime } = await stat(join(this.#folder, path));
      return { bytes: size, writtenAt: mtime };
    } catch (error) {
      // Expired since it was listed.
      if (isMissing(error)) return undefined;
      throw error;
    }
  }
}
