import { z } from "zod";
import type { Descriptor } from "#stack";
import { CtmError, runAs } from "#system";
import type { Context } from "../command.ts";
import { backrestFailure, readRepository, type Backup } from "../facts/repository.ts";
import { createShell } from "../shell.ts";
import { historyName, parseHistory, parseHistoryName, parseSegment, type Fork } from "./wal.ts";

export type RepositoryDescriptor = Descriptor["backup"]["repositories"][number];

/** What a repository stores of one segment. */
export interface ArchivedSegment {
  /** Its file, from `archive/STANZA`. */
  path: string;
  /** As stored: compressed and encrypted. */
  bytes: number;
  /** When the repository received it. */
  storedAt: Date;
  /** More than one file claims to be this segment, with other content: pgBackRest refuses both. */
  duplicate: boolean;
}

/** The WAL of one database cluster: pgBackRest begins another archive with another system id. */
export interface Archive {
  /** PostgreSQL's version and a counter, such as 15-1. */
  id: string;
  /** By timeline, then by segment number; numbers as in wal.ts. */
  segments: ReadonlyMap<number, ReadonlyMap<number, ArchivedSegment>>;
  /** Segments of which only the part until a promotion is stored. */
  partial: ReadonlyMap<number, ReadonlySet<number>>;
  /** How each timeline came to be, from its history file; timeline 1 has none. */
  histories: ReadonlyMap<number, readonly Fork[]>;
  /** When each timeline's history file was stored: which timeline lived at a time. */
  promotedAt: ReadonlyMap<number, Date>;
}

/** What one repository holds, from names alone. */
export interface ArchiveListing {
  /** Name in the descriptor. */
  repository: string;
  /** Oldest first. */
  archives: Archive[];
  /** Oldest first. */
  backups: Backup[];
}

/** Number of the newest segment that an archive holds of a timeline; -1 where it holds none. */
export function newestHeld({ segments }: Pick<Archive, "segments">, timeline: number): number {
  let newest = -1;
  // Too many for the arguments of Math.max.
  for (const number of segments.get(timeline)?.keys() ?? []) newest = Math.max(newest, number);
  return newest;
}

/** A file below `archive/STANZA`, with its path from there. */
export interface ArchiveFile {
  path: string;
  bytes: number;
  storedAt: Date;
}

/** pgBackRest's own words are in English and its listing is one JSON document (2.45). */
const repositoryFiles = z.record(
  z.string(),
  z.object({ type: z.string(), size: z.number().default(0), time: z.number().default(0) }),
);

/** How long the repository may take to answer: a far one lists a thousand names a request. */
const listMs = 120_000;

/** The archive in which a segment is stored: SEGMENT-SHA1, perhaps `.partial`, perhaps compressed. */
const segmentFile = /^([0-9A-F]{24})(\.partial)?-[0-9a-f]{40}(\.(gz|lz4|zst|bz2))?$/;

/** The repositories in folders of this host. */
export function nearRepositories(
  descriptor: Descriptor,
): Extract<RepositoryDescriptor, { kind: "posix" }>[] {
  return descriptor.backup.repositories.flatMap((each) => (each.kind === "posix" ? [each] : []));
}

/** The copies of them in another region. */
export function farRepositories(
  descriptor: Descriptor,
): Extract<RepositoryDescriptor, { kind: "s3" }>[] {
  return descriptor.backup.repositories.flatMap((each) => (each.kind === "s3" ? [each] : []));
}

/**
 * pgBackRest's configuration that reads a repository as its repo1.
 *
 * A far repository has a file of its own: in one file with the near one, its outage would stop
 * archiving to both (measured with pgBackRest 2.45).
 */
export function configurationOf(descriptor: Descriptor, repository: RepositoryDescriptor): string {
  if (repository.kind === "s3") return repository.configuration;
  const [member] = descriptor.postgres.members;
  if (member === undefined) throw new Error("the descriptor names no member");
  return member.backrestConfiguration;
}

/** Lists a repository of the stack. @throws CtmError `no-permission`, `repository-unreadable` */
export async function readArchive(
  descriptor: Descriptor,
  context: Pick<Context, "env" | "signal">,
  repository: RepositoryDescriptor,
): Promise<ArchiveListing> {
  const configuration = configurationOf(descriptor, repository);
  return await readArchiveOf({ name: repository.name, configuration }, descriptor, context);
}

/**
 * Lists a repository: one listing of the archive, the backups, and the history files that are
 * needed to know each timeline's parents.
 *
 * @param repository `configuration`: pgBackRest's, in which it is repo1
 * @throws CtmError `no-permission`, `repository-unreadable`
 */
export async function readArchiveOf(
  repository: { name: string; configuration: string },
  descriptor: Descriptor,
  context: Pick<Context, "env" | "signal">,
): Promise<ArchiveListing> {
  const { stanza } = descriptor.backup;
  const shell = createShell(context, await runAs(descriptor.users.postgres));
  const options = [
    `--config=${repository.configuration}`,
    `--stanza=${stanza}`,
    "--log-level-console=off",
    "--log-level-stderr=error",
  ];
  const pgbackrest = async (...args: string[]): Promise<string> => {
    const finished = await shell({ timeout: listMs })`pgbackrest ${options} ${args}`;
    if (finished.ok) return finished.stdout;
    throw new CtmError(
      "repository-unreadable",
      `repository ${repository.name}: ${backrestFailure(finished)}`,
      { next: "ctm doctor" },
    );
  };
  const [listed, { backups }] = await Promise.all([
    pgbackrest("repo-ls", "--recurse", "--output=json", `archive/${stanza}`),
    readRepository(descriptor, context, listMs, repository.configuration),
  ]);
  const files = Object.entries(repositoryFiles.parse(JSON.parse(listed))).flatMap(
    ([path, { type, size, time }]): ArchiveFile[] =>
      type === "file" ? [{ path, bytes: size, storedAt: new Date(time * 1000) }] : [],
  );
  const archives = await readArchives(files, (path) =>
    pgbackrest("repo-get", `archive/${stanza}/${path}`),
  );
  return { repository: repository.name, archives, backups };
}

/**
 * The archives that the files make up, with what their history files tell.
 *
 * @param read returns a history file's text; its path is relative, as the files' are
 */
export async function readArchives(
  files: Iterable<ArchiveFile>,
  read: (path: string) => Promise<string>,
): Promise<Archive[]> {
  const archives = archivesOf(files);
  await Promise.all(
    archives.map(async (archive) => {
      await readHistories(archive, (name) => read(`${archive.id}/${name}`));
    }),
  );
  return archives;
}

interface ArchiveInProgress extends Archive {
  segments: Map<number, Map<number, ArchivedSegment>>;
  partial: Map<number, Set<number>>;
  histories: Map<number, Fork[]>;
  promotedAt: Map<number, Date>;
}

/** The archives that the files make up, oldest first; histories are known to exist, not yet read. */
export function archivesOf(files: Iterable<ArchiveFile>): ArchiveInProgress[] {
  const archives = new Map<string, ArchiveInProgress>();
  for (const { path, bytes, storedAt } of files) {
    const [, id, name] = /^(\d+(?:\.\d+)?-\d+)\/(?:[0-9A-F]{16}\/)?([^/]+)$/.exec(path) ?? [];
    if (id === undefined || name === undefined) continue;
    const archive = archives.get(id) ?? emptyArchive(id);
    archives.set(id, archive);
    const history = parseHistoryName(name);
    if (history !== undefined) {
      archive.histories.set(history, []);
      archive.promotedAt.set(history, storedAt);
    }
    const [, stored, isPartial] = segmentFile.exec(name) ?? [];
    const segment = stored === undefined ? undefined : parseSegment(stored);
    if (segment === undefined) continue;
    const { timeline, number } = segment;
    if (isPartial !== undefined) {
      entry(archive.partial, timeline, () => new Set()).add(number);
      continue;
    }
    const segments = entry(archive.segments, timeline, () => new Map());
    const duplicate = segments.has(number);
    segments.set(number, { path, bytes, storedAt, duplicate });
  }
  return [...archives.values()].toSorted((one, other) => counterOf(one.id) - counterOf(other.id));
}

/**
 * Reads the history files that say anything new, newest first: a file lists all ancestors of its
 * timeline, so that one file is enough where every timeline continues the one before.
 */
async function readHistories(
  { histories }: ArchiveInProgress,
  read: (name: string) => Promise<string>,
): Promise<void> {
  const unread = new Set(histories.keys());
  for (const timeline of [...histories.keys()].toSorted((one, other) => other - one)) {
    if (!unread.delete(timeline)) continue;
    const forks = parseHistory(await read(historyName(timeline)));
    histories.set(timeline, forks);
    for (const [index, { parent }] of forks.entries()) {
      if (unread.delete(parent)) histories.set(parent, forks.slice(0, index));
    }
  }
}

function emptyArchive(id: string): ArchiveInProgress {
  return {
    id,
    segments: new Map(),
    partial: new Map(),
    histories: new Map(),
    promotedAt: new Map(),
  };
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const found = map.get(key);
  if (found !== undefined) return found;
  const made = make();
  map.set(key, made);
  return made;
}

function counterOf(id: string): number {
  return Number(id.slice(id.lastIndexOf("-") + 1));
}
