import { type FSWatcher, watch as watchFolder } from "node:fs";
import { dirname, resolve } from "node:path";
import { RunnerError } from "../errors.ts";
import { findFiles } from "../run/find-files.ts";
import type { RunOptions } from "../run/run-tests.ts";

/** Editors write a file in several steps: what comes within this time is one change. */
const settleMs = 100;

/**
 * Runs the tests, and again what changes: a changed test alone, all of them when anything else in
 * their folders changes, for it may be included by any of them.
 *
 * @returns the exit code of the last run, once the signal has come
 */
export async function watch(
  options: RunOptions,
  run: (files: readonly string[]) => Promise<number>,
  signal: AbortSignal,
): Promise<number> {
  const named = options.files ?? [];
  const find = (): string[] => findFiles(named, process.cwd(), options.extensions);
  const folders = new Set([
    ...find().map((path) => dirname(resolve(path))),
    ...(options.load ?? []).map((path) => dirname(resolve(path))),
  ]);
  const changes = new Changes(folders);
  try {
    let exitCode = await run(named);
    while (!signal.aborted) {
      process.stdout.write("waiting for changes\n");
      const changed = await changes.next(signal);
      if (signal.aborted) break;
      try {
        const tests = find().filter((path) => changed.has(resolve(path)));
        exitCode = await run(tests.length === changed.size ? tests : named);
      } catch (error) {
        // A file that is gone, a server that is down: both may be otherwise after the next change.
        if (!(error instanceof RunnerError)) throw error;
        process.stderr.write(`${error.text}\n`);
        exitCode = error.exitCode;
      }
    }
    return exitCode;
  } finally {
    changes.close();
  }
}

/** Gathers the paths that change. */
class Changes {
  readonly #watchers: FSWatcher[];
  #changed = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #wake: (() => void) | undefined;

  constructor(folders: ReadonlySet<string>) {
    this.#watchers = [...folders].map((folder) =>
      watchFolder(folder, { recursive: true }, (_, name) => {
        // Only SQL matters; editors leave other files beside it.
        if (name === null || !/\.(sql|pg|psql)$/.test(name)) return;
        this.#changed.add(resolve(folder, name));
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
          this.#timer = undefined;
          this.#wake?.();
        }, settleMs);
      }),
    );
  }

  /** Waits for changes, those since the last call included, until they have settled. */
  async next(signal: AbortSignal): Promise<ReadonlySet<string>> {
    if (this.#changed.size === 0 || this.#timer !== undefined) {
      await new Promise<void>((wake) => {
        this.#wake = wake;
        if (signal.aborted) wake();
        signal.addEventListener("abort", () => wake(), { once: true });
      });
    }
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers) watcher.close();
  }
}
