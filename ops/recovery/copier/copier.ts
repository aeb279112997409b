import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { CtmError, makeDirectory, messageOf, run, writeFileAtomic } from "#system";
import { parseInfo, type Backup } from "../../facts/repository.ts";
import { readArchives } from "../archive.ts";
import type { CopierConfiguration } from "./configuration.ts";
import { NearRepository } from "./near-repository.ts";
import { filesToCopy, filesToRemove, walFilesOf, type NearFiles } from "./plan.ts";
import { Rclone } from "./rclone.ts";
import { readCopierState, type CopierState } from "./state.ts";

/** One call of rclone: small enough that new WAL soon gets its turn while a backup is copied. */
const chunkFiles = 64;
const chunkBytes = 1024 ** 3;
/** Others may change the far place: it is listed anew so often. */
const relistMs = 3_600_000;
const infoMs = 60_000;

/**
 * Keeps the far copy equal to the near repository, one round after the other. It lives as long as
 * the near one does, and an outage of the far one costs nothing but its own lag.
 */
export class Copier {
  readonly #settings: CopierConfiguration;
  readonly #rclone: Rclone;
  readonly #near: NearRepository;
  readonly #histories = new Map<string, string>();
  #backups: Backup[] = [];
  /** What the far one is known to hold; undefined until it was listed. */
  #far: Map<string, number> | undefined;
  #listedAt = 0;
  #sentInfo = "";
  #state: CopierState | undefined;

  constructor(settings: CopierConfiguration) {
    this.#settings = settings;
    this.#near = new NearRepository(settings.near, settings.stanza);
    this.#rclone = new Rclone(
      settings.rclone,
      settings.far,
      settings.authority === null ? {} : { authority: settings.authority },
    );
  }

  /** Why the last round failed; null when it did not. */
  get error(): string | null {
    return this.#state?.error ?? null;
  }

  /**
   * Copies until the far one lacks nothing, then removes what expired, and writes the state.
   *
   * @returns whether all is well: false asks for a longer pause
   */
  async round(): Promise<boolean> {
    this.#state ??= await readCopierState(this.#settings.state).catch(() => undefined);
    try {
      await this.#copyAll();
      return true;
    } catch (error) {
      const now = new Date().toISOString();
      await this.#report(await this.#near.list().catch(() => undefined), {
        failing_since: this.#state?.failing_since ?? now,
        error: messageOf(error),
      });
      // What a failed call did is unknown.
      this.#far = undefined;
      return false;
    }
  }

  async #copyAll(): Promise<void> {
    const { near: folder, windowDays } = this.#settings;
    const staged = await this.#stageInfo();
    const info = await this.#backrest("--output=json", "info");
    this.#backups = parseInfo(info, this.#settings.stanza).backups;
    const far = await this.#listFar();
    await this.#checkIdentity(far);
    for (;;) {
      const near = await this.#near.list();
      const lacking = filesToCopy(near, far, this.#backups);
      await this.#report(near, { error: null, failing_since: null });
      if (lacking.length === 0) break;
      const chunk = firstChunk(lacking, near);
      await this.#rclone.copy(folder, chunk);
      for (const path of chunk) far.set(path, near.get(path)?.bytes ?? 0);
    }
    if (staged.digest !== this.#sentInfo && staged.paths.length > 0) {
      await this.#rclone.copy(staged.folder, staged.paths);
      for (const path of staged.paths) far.set(path, 0);
      this.#sentInfo = staged.digest;
    }
    // A backup or an expiry in between: what the far info files name is no longer what we know.
    if (digestOf(await this.#near.info()) === staged.digest) {
      const near = await this.#near.list();
      const archives = await readArchives(walFilesOf(near, far), (path) => this.#history(path));
      const windowStart = new Date(Date.now() - windowDays * 86_400_000);
      const expired = filesToRemove(near, far, this.#backups, archives, windowStart);
      if (expired.length > 0) await this.#remove(expired, far);
    }
    await this.#report(await this.#near.list(), {
      complete_at: new Date().toISOString(),
      error: null,
      failing_since: null,
    });
  }

  /** Removal may be forbidden (a lock on the bucket): the copy is as good with old files in it. */
  async #remove(paths: readonly string[], far: Map<string, number>): Promise<void> {
    try {
      await this.#rclone.remove(paths);
      for (const path of paths) far.delete(path);
    } catch (error) {
      process.stderr.write(`${paths.length} expired files were not removed: ${messageOf(error)}\n`);
    }
  }

  /** The info files as they are now: all that they name exists now, and is copied before them. */
  async #stageInfo(): Promise<{ folder: string; paths: string[]; digest: string }> {
    const folder = join(dirname(this.#settings.state), "info");
    const files = await this.#near.info();
    for (const [path, content] of files) {
      await makeDirectory(dirname(join(folder, path)), { mode: 0o700 });
      await writeFileAtomic(join(folder, path), content, { mode: 0o600 });
    }
    return { folder, paths: [...files.keys()], digest: digestOf(files) };
  }

  /** A history file never changes. */
  async #history(path: string): Promise<string> {
    const known = this.#histories.get(path);
    if (known !== undefined) return known;
    const text = await this.#backrest("repo-get", `archive/${this.#settings.stanza}/${path}`);
    this.#histories.set(path, text);
    return text;
  }

  async #backrest(...args: string[]): Promise<string> {
    const { backrest, stanza } = this.#settings;
    const { stdout } = await run(
      "pgbackrest",
      [
        `--config=${backrest}`,
        `--stanza=${stanza}`,
        "--log-level-console=off",
        "--log-level-stderr=error",
        ...args,
      ],
      { timeoutMs: infoMs, cwd: "/" },
    );
    return stdout;
  }

  async #listFar(): Promise<Map<string, number>> {
    if (this.#far === undefined || Date.now() - this.#listedAt > relistMs) {
      this.#far = new Map(await this.#rclone.list());
      this.#listedAt = Date.now();
      this.#sentInfo = "";
    }
    return this.#far;
  }

  /**
   * A far place belongs to one near repository for ever: a new or emptied one must never take
   * the copy of a lost one away.
   *
   * @throws CtmError `far-belongs-to-another`
   */
  async #checkIdentity(far: Map<string, number>): Promise<void> {
    const own = await this.#near.identity();
    if (far.has(own)) return;
    if (far.size > 0) {
      throw new CtmError(
        "far-belongs-to-another",
        `${this.#settings.far} holds the copy of another repository; nothing is copied or removed`,
        { next: "pulumi config set ctm:farRepository with another path" },
      );
    }
    await this.#rclone.copy(this.#settings.near, [own]);
    far.set(own, 0);
  }

  async #report(near: NearFiles | undefined, change: Partial<CopierState>): Promise<void> {
    const far = this.#far;
    const lacking =
      near === undefined || far === undefined ? null : filesToCopy(near, far, this.#backups);
    const oldest = lacking?.map((path) => near?.get(path)?.writtenAt.getTime() ?? 0) ?? [];
    const newest = far === undefined ? undefined : newestWalOf(far);
    this.#state = {
      complete_at: this.#state?.complete_at ?? null,
      newest_wal: newest ?? this.#state?.newest_wal ?? null,
      failing_since: null,
      error: null,
      ...change,
      at: new Date().toISOString(),
      behind_files: lacking?.length ?? null,
      behind_bytes: lacking?.reduce((sum, path) => sum + (near?.get(path)?.bytes ?? 0), 0) ?? null,
      behind_since: oldest.length === 0 ? null : new Date(Math.min(...oldest)).toISOString(),
    };
    await writeFileAtomic(this.#settings.state, `${JSON.stringify(this.#state)}\n`, {
      mode: 0o644,
    });
  }
}

function firstChunk(paths: readonly string[], near: NearFiles): string[] {
  const chunk: string[] = [];
  let bytes = 0;
  for (const path of paths) {
    bytes += near.get(path)?.bytes ?? 0;
    if (chunk.length > 0 && (chunk.length >= chunkFiles || bytes > chunkBytes)) break;
    chunk.push(path);
  }
  return chunk;
}

function digestOf(files: ReadonlyMap<string, Uint8Array>): string {
  const hash = createHash("sha256");
  for (const [path, content] of files) hash.update(path).update("\0").update(content);
  return hash.digest("hex");
}

/** Newest by timeline and place; the copy of a later timeline is newer whatever its place. */
function newestWalOf(far: ReadonlyMap<string, number>): string | undefined {
  let newest: string | undefined;
  for (const path of far.keys()) {
    const name = /^archive\/.+\/([0-9A-F]{24})-[0-9a-f]{40}/.exec(path)?.[1];
    if (name !== undefined && (newest === undefined || name > newest)) newest = name;
  }
  return newest;
}
