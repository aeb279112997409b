/**
 * What to copy and what to remove, from names alone.
 *
 * The far copy must be a sound repository at every moment: data goes before the info files that
 * name it, and what the info files still name is never removed.
 */
import type { Backup } from "../../facts/repository.ts";
import type { Archive, ArchiveFile } from "../archive.ts";
import { neededSegments } from "../gaps.ts";
import { segmentName } from "../wal.ts";

/** A file of a repository: bytes, and when it was written (unknown for the far one). */
export interface StoredFile {
  bytes: number;
  writtenAt: Date;
}

/** By path from the repository's root, such as archive/main/15-1/…. */
export type NearFiles = ReadonlyMap<string, StoredFile>;
export type FarFiles = ReadonlyMap<string, number>;

/** Files that say what else is there: they go last. */
export function isInfo(path: string): boolean {
  return /^(archive|backup)\/[^/]+\/(archive|backup)\.info(\.copy)?$/.test(path);
}

/**
 * The files that the far one lacks, in the order in which to copy them: WAL oldest first, so that
 * the moment to which the far one can recover moves on, then backups. A backup goes when it is
 * complete: from then on its files never change.
 */
export function filesToCopy(
  near: NearFiles,
  far: FarFiles,
  backups: readonly Pick<Backup, "label">[],
): string[] {
  const labels = new Set(backups.map(({ label }) => label));
  const lacking = [...near].filter(([path, { bytes }]) => {
    if (isInfo(path) || far.get(path) === bytes) return false;
    const label = backupLabelOf(path);
    return label === undefined || labels.has(label);
  });
  const order = ([path, { writtenAt }]: [string, StoredFile]): [boolean, number, string] => [
    path.startsWith("backup/"),
    writtenAt.getTime(),
    path,
  ];
  return lacking.toSorted((one, other) => compare(order(one), order(other))).map(([path]) => path);
}

/**
 * The files of the far one that went by expiry: backups that the near one neither lists nor holds,
 * and WAL that the near one does not hold and that no backup and no moment of the window needs.
 * WAL that merely vanished near is needed, and stays: the far one may be the only one that has it.
 * Without a backup near, nothing has expired: something else has happened.
 *
 * @param archives made of the files of both places, with their histories
 */
export function filesToRemove(
  near: NearFiles,
  far: FarFiles,
  backups: readonly Backup[],
  archives: readonly Archive[],
  windowStart: Date,
): string[] {
  if (backups.length === 0) return [];
  const labels = new Set(backups.map(({ label }) => label));
  for (const path of near.keys()) {
    const label = backupLabelOf(path);
    if (label !== undefined) labels.add(label);
  }
  const needed = new Set<string>();
  for (const archive of archives) {
    const own = backups.filter(({ archiveId }) => archiveId === archive.id);
    for (const segment of neededSegments(archive, own, windowStart)) {
      needed.add(`${archive.id}/${segmentName(segment)}`);
    }
  }
  return [...far.keys()].filter((path) => {
    if (near.has(path) || isInfo(path)) return false;
    const label = backupLabelOf(path);
    if (label !== undefined) return !labels.has(label);
    const [, archive, segment] =
      /^archive\/[^/]+\/([^/]+)\/[0-9A-F]{16}\/([0-9A-F]{24})[-.]/.exec(path) ?? [];
    return segment !== undefined && !needed.has(`${archive}/${segment}`);
  });
}

function backupLabelOf(path: string): string | undefined {
  return /^backup\/[^/]+\/(\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?)\//.exec(path)?.[1];
}

function compare(
  [oneLate, oneTime, onePath]: [boolean, number, string],
  [otherLate, otherTime, otherPath]: [boolean, number, string],
): number {
  return (
    Number(oneLate) - Number(otherLate) ||
    oneTime - otherTime ||
    (onePath < otherPath ? -1 : Number(onePath > otherPath))
  );
}

/** The WAL files of both places, as `archivesOf` takes them: paths from `archive/STANZA` on. */
export function walFilesOf(...places: readonly ReadonlyMap<string, unknown>[]): ArchiveFile[] {
  const paths = new Set(places.flatMap((place) => [...place.keys()]));
  return [...paths].flatMap((path) => {
    const [, below] = /^archive\/[^/]+\/(.+)$/.exec(path) ?? [];
    return below === undefined ? [] : [{ path: below, bytes: 0, storedAt: new Date(0) }];
  });
}
