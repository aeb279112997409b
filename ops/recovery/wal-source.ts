import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import type { Descriptor } from "#stack";
import { CtmError, exists, makeDirectory, messageOf, run, runAs } from "#system";
import type { Context } from "../command.ts";
import { backrestFailure } from "../facts/repository.ts";
import { createShell } from "../shell.ts";
import { configurationOf, type Archive, type RepositoryDescriptor } from "./archive.ts";
import {
  readWalLine,
  resourceManagers,
  type DatabaseRemoval,
  type WalRecord,
} from "./wal-records.ts";
import { formatLsn, lsnOfSegment, parseLsn, segmentName, segmentNumberOf } from "./wal.ts";

/** Reads what segments say. */
export interface WalSource {
  /**
   * The records that begin in these segments of one timeline, both included, in their order.
   *
   * @throws CtmError `wal-unreadable`
   */
  read(timeline: number, first: number, last: number): Promise<WalRecord[]>;
}

const fetchMs = 60_000;
const dumpMs = 10 * 60_000;

/**
 * WAL from a repository, and where it has none yet from a server's own pg_wal.
 *
 * @param live the leader's pg_wal; undefined where there is none
 */
export function walSource(
  descriptor: Descriptor,
  context: Pick<Context, "env" | "signal">,
  repository: RepositoryDescriptor,
  archive: Archive,
  live: string | undefined,
): WalSource {
  const asUser = runAs(descriptor.users.postgres);

  const fetch = async (timeline: number, number: number, folder: string): Promise<boolean> => {
    const name = segmentName({ timeline, number });
    const stored = archive.segments.get(timeline)?.get(number);
    const shell = createShell(context, await asUser);
    if (stored === undefined) {
      const path = join(live ?? "", name);
      if (live === undefined || !(await exists(path))) return false;
      return (await shell`cp ${path} ${folder}`).ok;
    }
    const options = [
      `--config=${configurationOf(descriptor, repository)}`,
      `--repo=1`,
      "--log-level-console=off",
      "--log-level-stderr=error",
    ];
    const finished = await shell({
      timeout: fetchMs,
    })`pgbackrest ${options} repo-get archive/${descriptor.backup.stanza}/${stored.path} > ${join(folder, name)}`;
    if (!finished.ok) throw unreadable(`${name}: ${backrestFailure(finished)}`);
    await decompress(join(folder, name), stored.path);
    return true;
  };

  return {
    async read(timeline, first, last) {
      const { identity } = await asUser;
      // WAL holds everybody's data.
      const folder = await mkdtemp(join(tmpdir(), "ctm-wal-"));
      try {
        await makeDirectory(folder, { mode: 0o700, owner: identity });
        // The last record may end in the next segment.
        const numbers = Array.from({ length: last - first + 2 }, (_, index) => first + index);
        const fetched: number[] = [];
        await Promise.all(
          Array.from({ length: Math.min(8, cpus().length) }, async () => {
            for (let next = numbers.shift(); next !== undefined; next = numbers.shift()) {
              if (await fetch(timeline, next, folder)) fetched.push(next);
            }
          }),
        );
        const missing = Array.from({ length: last - first + 1 }, (_, index) => first + index).find(
          (number) => !fetched.includes(number),
        );
        if (missing !== undefined) {
          throw new CtmError(
            "wal-unreadable",
            `the archive does not hold ${segmentName({ timeline, number: missing })}`,
            { next: "ctm backup audit", exitCode: 3 },
          );
        }
        const records = await dump(timeline, first, last, folder);
        const end = lsnOfSegment(last + 1);
        return records.filter(({ lsn }) => lsn < end);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };

  async function dump(
    timeline: number,
    first: number,
    last: number,
    folder: string,
  ): Promise<WalRecord[]> {
    const records: WalRecord[] = [];
    const { stderr } = await run(
      join(descriptor.postgres.binaries, "pg_waldump"),
      [
        `--path=${folder}`,
        `--timeline=${timeline}`,
        `--start=${formatLsn(lsnOfSegment(first))}`,
        ...resourceManagers.map((name) => `--rmgr=${name}`),
      ],
      {
        ...(await asUser),
        cwd: "/",
        env: { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8", TZ: "UTC" },
        timeoutMs: dumpMs,
        onLine(line) {
          const record = readWalLine(line);
          if (record !== undefined) records.push(record);
        },
        // It reads on until there is nothing, and calls that an error.
        accept: [0, 1],
      },
    );
    // What is archived is whole: reading ends where the next segment would be, and not before. The
    // server's own WAL ends anywhere.
    const stopped = parseLsn(/ at ([0-9A-F]+\/[0-9A-F]+)/.exec(stderr)?.[1] ?? "");
    const isArchived = archive.segments.get(timeline)?.has(last) === true;
    const isWhole =
      stderr === "" ||
      stderr.includes("could not find file") ||
      (stopped !== undefined && stopped >= lsnOfSegment(last));
    if (isArchived && !isWhole) {
      const number = stopped === undefined ? first : segmentNumberOf(stopped);
      throw unreadable(`${segmentName({ timeline, number })}: ${stderr.trim()}`);
    }
    for (const record of records) {
      if (record.kind === "database-removal")
        record.lsn = await beginOf(record, timeline, first, folder);
    }
    return records;
  }

  /**
   * The first record that a transaction has here. PostgreSQL 15 marks a database as invalid where it
   * stands, outside of every transaction, before its files go: from there on nobody can connect to it.
   */
  async function beginOf(
    { xid, lsn }: DatabaseRemoval,
    timeline: number,
    first: number,
    folder: string,
  ): Promise<bigint> {
    const { stdout } = await run(
      join(descriptor.postgres.binaries, "pg_waldump"),
      [
        `--path=${folder}`,
        `--timeline=${timeline}`,
        `--start=${formatLsn(lsnOfSegment(first))}`,
        `--xid=${xid}`,
        "--limit=1",
      ],
      {
        ...(await asUser),
        cwd: "/",
        env: { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" },
        timeoutMs: dumpMs,
        accept: [0, 1],
      },
    );
    return parseLsn(/, lsn: ([0-9A-F/]+),/.exec(stdout)?.[1] ?? "") ?? lsn;
  }
}

/** `repo-get` decrypts, and leaves what the repository compressed as it is (pgBackRest 2.45). */
async function decompress(file: string, stored: string): Promise<void> {
  const suffix = /\.(\w+)$/.exec(stored)?.[1];
  if (suffix === undefined) return;
  const expand = suffix === "zst" ? zstdDecompressSync : suffix === "gz" ? gunzipSync : undefined;
  if (expand === undefined) throw unreadable(`${stored} is compressed in a form unknown here`);
  try {
    await writeFile(file, expand(await readFile(file)));
  } catch (error) {
    throw unreadable(`${stored} cannot be decompressed: ${messageOf(error)}`);
  }
}

function unreadable(what: string): CtmError {
  return new CtmError("wal-unreadable", what, { next: "ctm backup verify", exitCode: 3 });
}
