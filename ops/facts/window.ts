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
  const end = completedAt(archiver, repository?.repositories ?? []);
  // Where the archive's end has no known time, a backup does: each is whole in itself.
  return { from, to: end !== undefined && end > newest ? end : newest };
}

/** When the newest segment that every repository holds was complete: commits until then are there. */
function completedAt(
  { completed, lastWal, lastArchivedAt }: ArchiverFacts,
  repositories: RepositoryFacts["repositories"],
): Date | undefined {
  const [held] = repositories.map(({ newestWal }) => newestWal ?? "").toSorted();
  if (held === undefined || held === "") return undefined;
  return completed.get(held) ?? (held === lastWal ? (lastArchivedAt ?? undefined) : undefined);
}

/** The server calls a segment archived that some repository has not. */
export function isBehind(
  archiver: ArchiverFacts | null,
  repository: RepositoryFacts | null,
): boolean {
  const archived = archiver?.lastWal ?? null;
  if (archived === null || repository === null) return false;
  return repository.repositories.some(
    ({ newestWal }) => newestWal === null || newestWal < archived,
  );
}
