import type { Descriptor } from "#stack";
import type { RepositoryFacts } from "../facts/repository.ts";
import type { ArchiverFacts } from "../facts/server.ts";
import type { ArchiveListing } from "./archive.ts";
import { workToLatest } from "./plan.ts";
import type { Measurement } from "./rates.ts";
import { assess, busiestHour, type Assessment } from "./schedule.ts";

/** What a stack says of itself; null where a part does not answer. */
export interface ObjectiveFacts {
  repository: RepositoryFacts | null;
  /** The near repository's files. */
  archive: ArchiveListing | null;
  archiver: ArchiverFacts | null;
  measurements: readonly Measurement[];
}

/** Whether a stack holds its RPO, its RTO and its schedule. */
export function assessStack(
  { backup }: Descriptor,
  { repository, archive: listing, archiver, measurements }: ObjectiveFacts,
  now: Date,
): Assessment {
  const archive = listing?.archives.at(-1);
  const segments = [...(archive?.segments.values() ?? [])].flatMap((held) => [...held.values()]);
  return assess(backup.policy, {
    now,
    newest: repository?.backups.findLast(({ damaged }) => !damaged) ?? null,
    running: repository?.running ?? false,
    work:
      listing === null || archive === undefined
        ? null
        : workToLatest(
            archive,
            listing.backups.filter(({ archiveId }) => archiveId === archive.id),
          ),
    busiestHour: archive === undefined ? null : busiestHour(segments, now),
    measurements,
    archiver,
  });
}
