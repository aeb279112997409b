import { statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { CtmError } from "#system";
import type { Context } from "../command.ts";
import { connected, stackConnection } from "../facts/connection.ts";
import { segmentOf } from "../facts/server.ts";
import type { Stack } from "../open-stack.ts";
import { readArchive, type RepositoryDescriptor } from "./archive.ts";
import type { LiveWal } from "./lineage.ts";
import type { World } from "./locate.ts";
import { filesOf, readMarks } from "./marks.ts";
import type { PlanFacts } from "./plan.ts";
import { readMeasurements } from "./rates.ts";
import { walSource } from "./wal-source.ts";

/** A leader that takes longer is as good as none: the archive alone then says what there is. */
const leaderMs = 3_000;

/** What planning a restore needs to know, read without changing anything. */
export interface Gathered {
  repository: RepositoryDescriptor;
  facts: PlanFacts;
  world: World;
}

/**
 * Reads a repository and asks the leader, if there is one.
 *
 * @param name of the repository; the nearest one by default
 * @throws CtmError `no-such-repository` (exit 2), `no-backup`, `repository-unreadable`
 */
export async function gather(
  stack: Stack,
  context: Pick<Context, "env" | "signal" | "progress">,
  name: string | undefined,
): Promise<Gathered> {
  const { descriptor, paths } = stack;
  const { repositories } = descriptor.backup;
  const repository =
    name === undefined ? repositories[0] : repositories.find((each) => each.name === name);
  if (repository === undefined) {
    throw new CtmError("no-such-repository", `there is no repository "${name}"`, {
      next: `one of ${repositories.map((each) => each.name).join(", ")}`,
      exitCode: 2,
    });
  }
  context.progress.step(`listing the repository ${repository.name}`);
  // Asked first: what it calls archived by now has to be in the listing that follows.
  const live = await liveWal(stack).catch(() => null);
  const [listing, measurements, marks] = await Promise.all([
    readArchive(descriptor, context, repository),
    readMeasurements(paths),
    readMarks(paths),
  ]);
  const archive = listing.archives.at(-1);
  if (archive === undefined) {
    throw new CtmError("no-backup", `the repository ${repository.name} holds no WAL`, {
      next: "ctm backup list",
    });
  }
  const backups = listing.backups.filter(({ archiveId }) => archiveId === archive.id);
  const now = new Date();
  const { bavail, bsize } = await statfs(dirname(memberOf(stack).dataDirectory));
  return {
    repository,
    facts: {
      repository: repository.name,
      archive,
      backups,
      live,
      now,
      freeBytes: bavail * bsize,
      measurements,
    },
    world: {
      archive,
      backups,
      live,
      filesOf: (schema, table) => filesOf(marks, schema, table),
      now,
      source: walSource(descriptor, context, repository, archive, live?.directory),
      progress: context.progress,
      signal: context.signal,
    },
  };
}

function memberOf({ descriptor }: Stack): Stack["descriptor"]["postgres"]["members"][number] {
  const [member] = descriptor.postgres.members;
  if (member === undefined) throw new Error("the descriptor names no member");
  return member;
}

/** How far the leader has written, and where its WAL is on this host. */
async function liveWal(stack: Stack): Promise<LiveWal | null> {
  const config = await stackConnection(stack, "ctm_monitor");
  const bounded = {
    ...config,
    // The stack's own may be what was dropped.
    database: "postgres",
    connectionTimeoutMillis: leaderMs,
    query_timeout: leaderMs,
  };
  const [row] = await connected(bounded, async (client) => {
    const { rows } = await client.query<{
      timeline: number;
      bytes: string;
      archived: string | null;
      port: number;
    }>(
      `SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline,
              (pg_current_wal_lsn() - '0/0')::text AS bytes,
              (SELECT last_archived_wal FROM pg_stat_archiver) AS archived, inet_server_port() AS port`,
    );
    return rows;
  });
  const member = stack.descriptor.postgres.members.find(({ port }) => port === row?.port);
  if (row === undefined || member === undefined) return null;
  return {
    timeline: row.timeline,
    lsn: BigInt(row.bytes),
    archivedTo: segmentOf(row.archived),
    directory: join(member.dataDirectory, "pg_wal"),
  };
}
