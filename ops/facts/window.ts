import type { RepositoryFacts } from "./repository.ts";
import type { ArchiverFacts } from "./server.ts";

/** The moments between which any can be recovered, as far as it is known without an audit. */
export interface Window {
  from: Date | null;
  /** Null when nobody can tell: the leader does not answer, or the repository lacks WAL. */
  to: Date | null;
}

export function recoverableWindow(
  archiver: ArchiverFacts | null,
  repository: RepositoryFacts | null,
): Window {
  const from = repository?.backups[0]?.stoppedAt ?? null;
  const newest = repository?.backups.at(-1)?.stoppedAt ?? null;
  // What the repository lacks cannot be recovered, whatever the server believes.
  if (newest === null || archiver === null || isBehind(archiver, repository)) {
    return { from, to: null };
  }
  // A new leader has archived nothing yet; each backup is whole in itself.
  const { completeAt } = archiver;
  return { from, to: completeAt !== null && completeAt > newest ? completeAt : newest };
}

/** The server calls a segment archived that some repository has not. */
export function isBehind(
  archiver: ArchiverFacts | null,
  repository: RepositoryFacts | null,
): boolean {
  const archived = archiver?.newestWal ?? null;
  if (archived === null || repository === null) return false;
  return repository.repositories.some(
    ({ newestWal }) => newestWal === null || newestWal < archived,
  );
}
