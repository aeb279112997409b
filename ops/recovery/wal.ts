/**
 * Names and places in PostgreSQL's write-ahead log
 * (https://www.postgresql.org/docs/15/wal-internals.html, src/include/access/xlog_internal.h).
 *
 * A segment's number counts from the log's beginning, whatever the timeline: as a `number` it is
 * exact up to 2^53, and the log ends at 2^64 bytes, 2^44 segments of the smallest size.
 */

/** What initdb makes, and what this project's clusters have. */
export const defaultSegmentBytes = 16 * 1024 ** 2;

/** One segment of one timeline. */
export interface Segment {
  timeline: number;
  number: number;
}

/** Where a timeline left its parent. */
export interface Fork {
  /** The timeline that was left. */
  parent: number;
  /** From this byte on, the child's own WAL holds. */
  lsn: bigint;
}

/** The segment of a name such as 0000000200000001000000FE, or undefined where it is none. */
export function parseSegment(
  name: string,
  segmentBytes = defaultSegmentBytes,
): Segment | undefined {
  if (!/^[0-9A-F]{24}$/.test(name)) return undefined;
  const perLog = 2 ** 32 / segmentBytes;
  const offset = Number.parseInt(name.slice(16), 16);
  if (offset >= perLog) return undefined;
  return {
    timeline: Number.parseInt(name.slice(0, 8), 16),
    number: Number.parseInt(name.slice(8, 16), 16) * perLog + offset,
  };
}

export function segmentName(
  { timeline, number }: Segment,
  segmentBytes = defaultSegmentBytes,
): string {
  const perLog = 2 ** 32 / segmentBytes;
  return [timeline, Math.floor(number / perLog), number % perLog]
    .map((part) => part.toString(16).toUpperCase().padStart(8, "0"))
    .join("");
}

/** The number of the segment that holds a byte of the log. */
export function segmentNumberOf(lsn: bigint, segmentBytes = defaultSegmentBytes): number {
  return Number(lsn / BigInt(segmentBytes));
}

/** The first byte of a segment. */
export function lsnOfSegment(number: number, segmentBytes = defaultSegmentBytes): bigint {
  return BigInt(number) * BigInt(segmentBytes);
}

/** An LSN as PostgreSQL writes it, such as 1/FE0000D8; undefined where the text is none. */
export function parseLsn(text: string): bigint | undefined {
  const [, high, low] = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text) ?? [];
  if (high === undefined || low === undefined) return undefined;
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

export function formatLsn(lsn: bigint): string {
  return `${(lsn >> 32n).toString(16)}/${(lsn & 0xff_ff_ff_ffn).toString(16)}`.toUpperCase();
}

export function historyName(timeline: number): string {
  return `${timeline.toString(16).toUpperCase().padStart(8, "0")}.history`;
}

/** The timeline of a history file's name, or undefined where it is none. */
export function parseHistoryName(name: string): number | undefined {
  const [, timeline] = /^([0-9A-F]{8})\.history$/.exec(name) ?? [];
  return timeline === undefined ? undefined : Number.parseInt(timeline, 16);
}

/**
 * The forks that a history file lists, oldest first: the last one is the file's own timeline
 * leaving its parent (readTimeLineHistory, src/backend/access/transam/timeline.c).
 */
export function parseHistory(text: string): Fork[] {
  return text.split("\n").flatMap((line) => {
    const [, parent, at] = /^\s*(\d+)\s+(\S+)/.exec(line) ?? [];
    const lsn = at === undefined ? undefined : parseLsn(at);
    return parent === undefined || lsn === undefined ? [] : [{ parent: Number(parent), lsn }];
  });
}
