import { z } from "zod";
import type { Descriptor } from "#stack";
import { CtmError, parseJson, runAs } from "#system";
import type { Context } from "../command.ts";
import { createShell } from "../shell.ts";

export type BackupType = "full" | "diff" | "incr";

/** One backup, as pgBackRest's `info` has it. */
export interface Backup {
  /** pgBackRest's name of it, such as 20261124-020000F. */
  label: string;
  type: BackupType;
  /** Number of the repository that holds it. */
  repository: number;
  /** Label of the backup that it builds on; null for a full one. */
  prior: string | null;
  startedAt: Date;
  /** A restore can reach any moment from here on. */
  stoppedAt: Date;
  /** Bytes of the database when it was taken. */
  databaseBytes: number;
  /** Bytes that it alone takes in the repository. */
  storedBytes: number;
  firstWal: string;
  lastWal: string;
  /** Where a restore of it begins to replay, and where it becomes consistent; null for old pgBackRest. */
  startLsn: string | null;
  stopLsn: string | null;
  /** The archive that holds its WAL, such as 15-1. */
  archiveId: string;
  /** pgBackRest found page checksums that do not match. */
  damaged: boolean;
}

export interface Repository {
  number: number;
  /** pgBackRest's word: `ok`, or what is wrong. */
  status: string;
  ok: boolean;
  cipher: string | null;
  /** Oldest and newest WAL segment of the newest archive; null when it holds none. */
  oldestWal: string | null;
  newestWal: string | null;
}

export interface RepositoryFacts {
  repositories: Repository[];
  /** Oldest first. */
  backups: Backup[];
  /** A backup, expire or stanza command of the stanza runs on this host now. */
  running: boolean;
}

/** `info --output=json` (https://pgbackrest.org/command.html#command-info), of pgBackRest 2.45. */
const infoAnswer = z.array(
  z.object({
    name: z.string(),
    status: z.object({
      code: z.int(),
      message: z.string(),
      lock: z.object({ backup: z.object({ held: z.boolean() }) }),
    }),
    repo: z
      .array(
        z.object({
          key: z.int(),
          cipher: z.string(),
          status: z.object({ code: z.int(), message: z.string() }),
        }),
      )
      .default([]),
    archive: z
      .array(
        z.object({
          database: z.object({ id: z.int(), "repo-key": z.int() }),
          id: z.string(),
          min: z.string().nullish(),
          max: z.string().nullish(),
        }),
      )
      .default([]),
    backup: z
      .array(
        z.object({
          label: z.string(),
          type: z.enum(["full", "diff", "incr"]),
          prior: z.string().nullable(),
          error: z.boolean().nullish(),
          database: z.object({ id: z.int(), "repo-key": z.int() }),
          lsn: z.object({ start: z.string().nullable(), stop: z.string().nullable() }).nullish(),
          timestamp: z.object({ start: z.number(), stop: z.number() }),
          info: z.object({
            size: z.number(),
            repository: z.object({ delta: z.number() }),
          }),
          archive: z.object({ start: z.string().nullable(), stop: z.string().nullable() }),
        }),
      )
      .default([]),
  }),
);

/** pgBackRest's codes of a repository's state (src/command/info/info.c): its folder is not there… */
const missingPathCode = 1;
/** …and reading it met an error, which `info` reports and exits 0. */
const unreadableCode = 99;

/**
 * Parses pgBackRest's answer. A repository that is not where it should be is left out.
 *
 * @throws CtmError `repository-unreadable`, `passphrase-wrong`
 */
export function parseInfo(text: string, stanza: string): RepositoryFacts {
  // A file that was deciphered to noise is quoted in the answer, control characters and all.
  const parsed = infoAnswer.safeParse(parseJson(text.replaceAll(/\p{Cc}/gu, " ")));
  if (!parsed.success) {
    throw new CtmError(
      "repository-unreadable",
      `pgBackRest answered in an unknown form: ${text.slice(0, 200)}`,
    );
  }
  const found = parsed.data.find(({ name }) => name === stanza);
  if (found === undefined) {
    return { repositories: [], backups: [], running: false };
  }
  for (const { key, cipher, status } of found.repo) {
    if (status.code === unreadableCode) throw unreadable(key, status.message, cipher !== "none");
  }
  const present = found.repo.filter(({ status }) => status.code !== missingPathCode);
  return {
    repositories: present.map(({ key, cipher, status }) => {
      // The last entry belongs to the newest PostgreSQL version and system identifier.
      const archive = found.archive.findLast(({ database }) => database["repo-key"] === key);
      return {
        number: key,
        status: status.message,
        ok: status.code === 0,
        cipher: cipher === "none" ? null : cipher,
        oldestWal: archive?.min ?? null,
        newestWal: archive?.max ?? null,
      };
    }),
    backups: found.backup
      .map((each): Backup => ({
        label: each.label,
        type: each.type,
        repository: each.database["repo-key"],
        prior: each.prior,
        startedAt: new Date(each.timestamp.start * 1000),
        stoppedAt: new Date(each.timestamp.stop * 1000),
        databaseBytes: each.info.size,
        storedBytes: each.info.repository.delta,
        firstWal: each.archive.start ?? "",
        lastWal: each.archive.stop ?? "",
        startLsn: each.lsn?.start ?? null,
        stopLsn: each.lsn?.stop ?? null,
        archiveId:
          found.archive.find(
            ({ database }) =>
              database.id === each.database.id &&
              database["repo-key"] === each.database["repo-key"],
          )?.id ?? "",
        damaged: each.error ?? false,
      }))
      .toSorted((one, other) => one.stoppedAt.getTime() - other.stoppedAt.getTime()),
    running: found.status.lock.backup.held,
  };
}

/**
 * Why a repository cannot be read, in a sentence. Deciphered with a wrong passphrase, a file is
 * noise, which pgBackRest reports as a fault of the cipher or of the file's form, by chance.
 */
function unreadable(number: number, message: string, encrypted: boolean): CtmError {
  if (encrypted && /\b(CryptoError|FormatError)\b/.test(message)) {
    return new CtmError(
      "passphrase-wrong",
      `repository ${number} cannot be deciphered: the passphrase in pgbackrest.conf is not the one that it was made with`,
      { next: "npm run up writes the stack's own again; else docs/runbooks/lost-passphrase.md" },
    );
  }
  return new CtmError(
    "repository-unreadable",
    `repository ${number} cannot be read: ${message.split("\n")[0] ?? ""}`,
    { next: "ctm doctor" },
  );
}

/**
 * Reads the repositories through pgBackRest, as the OS user that owns them.
 *
 * @param configuration the file that names them; by default the one with the near ones
 * @throws CtmError `no-permission`, `repository-unreadable`, `passphrase-wrong`
 */
export async function readRepository(
  descriptor: Descriptor,
  context: Pick<Context, "env" | "signal">,
  timeoutMs: number,
  // The near repositories are the same in every member's configuration.
  configuration = descriptor.postgres.members[0]?.backrestConfiguration,
): Promise<RepositoryFacts> {
  const shell = createShell(context, await runAs(descriptor.users.postgres));
  const { stanza } = descriptor.backup;
  const finished = await shell({
    timeout: timeoutMs,
  })`pgbackrest --config=${configuration} --stanza=${stanza} --log-level-console=off --log-level-stderr=error info --output=json`;
  if (!finished.ok) {
    throw new CtmError("repository-unreadable", backrestFailure(finished), { next: "ctm doctor" });
  }
  return parseInfo(finished.stdout, stanza);
}

/** pgBackRest's own words for what went wrong, without time stamps. */
export function backrestFailure(finished: {
  stdall: string;
  exitCode: number | null;
  signal: NodeJS.Signals | null;
}): string {
  const lines = finished.stdall
    .split("\n")
    .map((line) => line.replace(/^.*?(ERROR|WARN): /, "").trim())
    .filter((line) => line !== "");
  const ending =
    finished.signal === null ? `exit code ${finished.exitCode}` : `signal ${finished.signal}`;
  return `pgBackRest ended with ${ending}${lines.length === 0 ? "" : `: ${lines.slice(-3).join("; ")}`}`;
}
