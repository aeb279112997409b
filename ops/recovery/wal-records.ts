import { z } from "zod";
import { parseJson } from "#system";
import { parseLsn } from "./wal.ts";

/** What pg_waldump shows of the records that tell a recovery where something happened. */
export type WalRecord =
  | Ending
  /** What `pg_logical_emit_message` left under ctm's name: a table was dropped or emptied. */
  | { kind: "mark"; lsn: bigint; mark: Mark }
  | { kind: "restore-point"; lsn: bigint; name: string }
  | DatabaseRemoval;

/** DROP DATABASE, which marks the database as invalid and removes its files before it commits. */
export interface DatabaseRemoval {
  kind: "database-removal";
  /** Of the removal; `WalSource` says instead where the transaction begins. */
  lsn: bigint;
  xid: number;
  /** Its folder, such as 1663/16384. */
  directory: string;
}

/** The end of a transaction. */
export interface Ending {
  kind: "commit" | "abort";
  lsn: bigint;
  xid: number;
  /** UTC, to the microsecond, in a form that sorts as the times do: 2026-11-24 02:10:44.000000. */
  at: string;
  subtransactions: readonly number[];
  /** Files of tables and indexes that went with it, such as base/16384/16500. */
  filesRemoved: readonly string[];
}

export interface Mark {
  event: "drop" | "truncate";
  schema: string;
  table: string;
  /** The whole transaction, in the 32 bits that WAL carries. */
  xid: number;
  /** Who was logged in, and with what. */
  role: string;
  application: string;
}

/** Resource managers whose records are read. */
export const resourceManagers = ["Transaction", "LogicalMessage", "XLOG", "Database"] as const;

const mark = z.object({
  event: z.enum(["drop", "truncate"]),
  schema: z.string(),
  table: z.string(),
  xid: z.string().transform((text) => Number(BigInt(text) & 0xff_ff_ff_ffn)),
  role: z.string(),
  application: z.string(),
});

/**
 * Reads a line of PostgreSQL 15's pg_waldump, run with TZ=UTC; undefined for what tells nothing of
 * the kind.
 */
export function readWalLine(line: string): WalRecord | undefined {
  const [, transaction, place, description = ""] =
    /^rmgr: \w+ .* tx: +(\d+), lsn: ([0-9A-F/]+), .*?desc: (.*)$/.exec(line) ?? [];
  const lsn = place === undefined ? undefined : parseLsn(place);
  return lsn === undefined ? undefined : readRecord(description, lsn, Number(transaction));
}

function readRecord(description: string, lsn: bigint, xid: number): WalRecord | undefined {
  // What was prepared ends in a record of nobody's own, which names the transaction.
  const [, verb, prepared, at] =
    /^(COMMIT|ABORT)(?:_PREPARED (\d+):)? (\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{6}) UTC/.exec(
      description,
    ) ?? [];
  if (at !== undefined) {
    return {
      kind: verb === "COMMIT" ? "commit" : "abort",
      lsn,
      xid: prepared === undefined ? xid : Number(prepared),
      at,
      subtransactions: wordsOf(description, "subxacts").map(Number),
      filesRemoved: wordsOf(description, "rels"),
    };
  }
  const [, name] = /^RESTORE_POINT (.*)$/.exec(description) ?? [];
  if (name !== undefined) return { kind: "restore-point", lsn, name };
  const [, directory] = /^DROP dir (\S+)/.exec(description) ?? [];
  if (directory !== undefined) return { kind: "database-removal", lsn, xid, directory };
  const [, payload] =
    /^MESSAGE transactional, prefix "ctm"; payload \(\d+ bytes\): ([0-9A-F ]+)$/.exec(
      description,
    ) ?? [];
  if (payload === undefined) return undefined;
  const read = mark.safeParse(
    parseJson(Buffer.from(payload.replaceAll(" ", ""), "hex").toString("utf8")),
  );
  // Anybody who may write messages may write others under the same name.
  return read.success ? { kind: "mark", lsn, mark: read.data } : undefined;
}

function wordsOf(description: string, list: string): string[] {
  const [, words] = new RegExp(`; ${list}: ([^;]+)`).exec(description) ?? [];
  return words === undefined ? [] : words.trim().split(/\s+/);
}
