import { CtmError } from "#system";
import { readTableName } from "./table-name.ts";
import { formatLsn, parseLsn } from "./wal.ts";

/** The moment that a person wants back, as it was asked for; `locate` finds it in the WAL. */
export type Target =
  /** Every commit until then, that very microsecond included. */
  | { kind: "time"; at: Date; utc: string }
  /** Every record until then; inclusive, the one that begins there too. */
  | { kind: "lsn"; lsn: bigint; inclusive: boolean }
  /** Until this transaction had committed. The 32 bits that WAL carries. */
  | { kind: "transaction"; xid: number }
  /** A point that pg_create_restore_point left. */
  | { kind: "name"; name: string }
  /** The moment at which a backup ended. */
  | { kind: "backup"; label: string }
  /** The end of what is archived. */
  | { kind: "latest" }
  /** Just before the commit of a DROP or TRUNCATE; `drop` counts back from the newest, which is 1. */
  | { kind: "before-drop"; schema: string; table: string; drop: number };

const label = /^\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?$/;
const dateAndTime =
  /^(\d{4}-\d{2}-\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)? ?(Z|UTC|[+-]\d{2}(?::?\d{2})?|[A-Za-z_]+\/[A-Za-z_/+-]+)?$/;

/** Every form of a target, for the error that meets none of them. */
const forms =
  '--to latest, "2026-11-24 02:10:44Z", 0/5000028, before:0/5000028, xid:1234, name:POINT, or a label of ctm backup list';

/**
 * Reads the text of `--to`.
 *
 * @throws CtmError `bad-target`, `target-without-zone`, `target-ambiguous`, `target-in-future`; exit 2
 */
export function parseTarget(text: string, now: Date): Target {
  const given = text.trim();
  if (given === "latest") return { kind: "latest" };
  if (label.test(given)) return { kind: "backup", label: given };
  const lsn = parseLsn(given.replace(/^before:/, ""));
  if (lsn !== undefined) return { kind: "lsn", lsn, inclusive: !given.startsWith("before:") };
  const [, prefix, value = ""] = /^(xid|name):(.*)$/.exec(given) ?? [];
  if (prefix === "name") return { kind: "name", name: pointName(value) };
  if (prefix === "xid") return { kind: "transaction", xid: transactionId(value) };
  if (dateAndTime.test(given)) return parseTime(given, now);
  if (/^\d+$/.test(given)) {
    throw refused("bad-target", `"${given}" may be a transaction or a time`, `--to xid:${given}`);
  }
  throw refused("bad-target", `"${given}" is no target`, forms);
}

/**
 * Reads the text of `--before-drop`, as `readTableName` does.
 *
 * @throws CtmError `bad-target`
 */
export function parseBeforeDrop(text: string, drop: number): Target {
  const name = readTableName(text);
  if (name === undefined) {
    throw refused("bad-target", `"${text}" is no table`, "--before-drop TABLE, or SCHEMA.TABLE");
  }
  return { kind: "before-drop", schema: name.schema, table: name.name, drop };
}

/** The target in words that complete "restore to …". */
export function targetText(target: Target): string {
  switch (target.kind) {
    case "time":
      return `${target.utc.replace(/\.?0+$/, "")}Z`;
    case "lsn":
      return `${target.inclusive ? "" : "before "}LSN ${formatLsn(target.lsn)}`;
    case "transaction":
      return `the commit of transaction ${target.xid}`;
    case "name":
      return `the restore point "${target.name}"`;
    case "backup":
      return `the end of backup ${target.label}`;
    case "latest":
      return "the end of the archive";
    case "before-drop":
      return `just before ${target.schema}.${target.table} was dropped or truncated`;
  }
}

/** A time as pg_waldump writes it with TZ=UTC, to the microsecond: such texts sort as times do. */
function utcText(at: Date, microseconds: string): string {
  return `${at.toISOString().slice(0, 19).replace("T", " ")}.${microseconds.padEnd(6, "0")}`;
}

function parseTime(text: string, now: Date): Target {
  const [, date = "", hour, minute, second = "00", fraction = "", zone] =
    dateAndTime.exec(text) ?? [];
  if (zone === undefined) {
    throw refused("target-without-zone", `"${text}" has no time zone`, `--to "${text}Z" for UTC`);
  }
  const clock = `${date}T${hour}:${minute}:${second}`;
  const local = new Date(`${clock}Z`);
  // Date turns 31 February into March.
  if (Number.isNaN(local.getTime()) || local.toISOString().slice(0, 10) !== date) {
    throw refused("bad-target", `"${text}" is no time`, forms);
  }
  const seconds = new Date(local.getTime() - offsetMs(zone, local, text));
  const at = new Date(seconds.getTime() + Number(fraction.padEnd(3, "0").slice(0, 3)));
  if (at > now) {
    throw refused(
      "target-in-future",
      `${at.toISOString()} is after ${now.toISOString()}, now`,
      "--to latest for everything that is archived",
    );
  }
  return { kind: "time", at, utc: utcText(seconds, fraction) };
}

/** How far a zone's clocks are ahead of UTC when they show a time. */
function offsetMs(zone: string, local: Date, text: string): number {
  if (zone === "Z" || zone === "UTC") return 0;
  const [, sign, hours, minutes = "00"] = /^([+-])(\d{2}):?(\d{2})?$/.exec(zone) ?? [];
  if (sign !== undefined) {
    const size = (Number(hours) * 60 + Number(minutes)) * 60_000;
    return sign === "-" ? -size : size;
  }
  const day = 24 * 3_600_000;
  // Where clocks change, those of the day before and after show which offsets are possible.
  const candidates = [-day, day].map((shift) =>
    zoneOffsetMs(zone, new Date(local.getTime() + shift), text),
  );
  const fitting = new Set(
    candidates.filter(
      (offset) => zoneOffsetMs(zone, new Date(local.getTime() - offset), text) === offset,
    ),
  );
  const [offset, other] = fitting;
  if (offset === undefined) {
    throw refused(
      "bad-target",
      `"${text}" never was: the clocks went forward`,
      "give the time in UTC, with Z",
    );
  }
  if (other !== undefined) {
    throw refused(
      "target-ambiguous",
      `"${text}" was twice: the clocks went back`,
      "give the time in UTC, with Z",
    );
  }
  return offset;
}

function zoneOffsetMs(zone: string, at: Date, text: string): number {
  let name: string | undefined;
  try {
    name = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" })
      .formatToParts(at)
      .find(({ type }) => type === "timeZoneName")?.value;
  } catch {
    throw refused(
      "bad-target",
      `"${text}": ${zone} is no time zone`,
      "give the time in UTC, with Z",
    );
  }
  const [, sign, hours = "0", minutes = "0"] =
    /GMT(?:([+-])(\d{2}):(\d{2}))?/.exec(name ?? "") ?? [];
  const size = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "-" ? -size : size;
}

/** PostgreSQL's longest name of a restore point is 63 bytes (MAXFNAMELEN). */
function pointName(value: string): string {
  if (value !== "" && Buffer.byteLength(value) <= 63) return value;
  throw refused("bad-target", `"${value}" is no name of a restore point`, "--to name:POINT");
}

/** With or without the epoch that pg_current_xact_id() shows. */
function transactionId(value: string): number {
  const xid = /^\d{1,19}$/.test(value) ? Number(BigInt(value) & 0xff_ff_ff_ffn) : 0;
  // 0 to 2 are no transactions (src/include/access/transam.h).
  if (xid >= 3) return xid;
  throw refused("bad-target", `"${value}" is no transaction`, "--to xid:1234");
}

function refused(code: string, what: string, next: string): CtmError {
  return new CtmError(code, what, { next, exitCode: 2 });
}
