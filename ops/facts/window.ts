import type { Descriptor } from "#stack";
import { recoverableFrom } from "../recovery/gaps.ts";
import type { RepositoryFacts } from "./repository.ts";
import type { ArchiverFacts } from "./server.ts";

/** The moments between which any can be recovered, but for the gaps that an audit finds. */
export interface Window {
  from: Date | null;
  /** Null when nobody can tell: the leader does not answer, or the repository lacks WAL. */
  to: Date | null;
}

/** @param start since when any moment shall be recoverable; older backups are points */
export function recoverableWindow(
  archiver: ArchiverFacts | null,
  repository: RepositoryFacts | null,
  start: Date,
): Window {
  const from = recoverableFrom(repository?.backups ?? [], start);
  const newest = repository?.backups.at(-1)?.stoppedAt ?? null;
  // What the repository lacks cannot be recovered, whatever the server believes.
  if (newest === null || archiver === null || isBehind(archiver, repository)) {
    return { from, to: null };
  }
  const end = completedAt(archiver, repository?.repositories ?? []);
  // Where the archive's end has no known time, a backup does: each is whole in itself.
  return { from, to: end !== undefined && end > newest ? end : newest };
}

/** Since when any moment shall be recoverable. */
export function windowStart(descriptor: Descriptor, now: Date): Date {
  return new Date(now.getTime() - descriptor.backup.policy.windowDays * 86_400_000);
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
