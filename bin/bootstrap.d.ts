/** A bootstrap failure: `code: message`, then `next: step`. */
export class BootstrapError extends Error {
  readonly code: string;
  readonly next: string;
}

/** The folders that may hold what was fetched or built: first ours, which we write, then root's. */
export function cacheRoots(): string[];

/** Makes node_modules of `root` what its package-lock.json says; install scripts run under `node`. */
export function ensurePackages(
  root: string,
  node: string,
  report: (line: string) => void,
): Promise<void>;

/** Fetches the pinned Node into the cache and returns its path. */
export function fetchNode(report: (line: string) => void): Promise<string>;

/** The pinned Node in one of the caches, or undefined. */
export function findCachedNode(): string | undefined;

/** Runs `file` (relative to the checkout) under the right Node, then exits as it did. */
export function start(file: string, args: readonly string[]): Promise<void>;
