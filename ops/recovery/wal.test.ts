import { expect, test } from "vitest";
import {
  formatLsn,
  historyName,
  lsnOfSegment,
  parseHistory,
  parseHistoryName,
  parseLsn,
  parseSegment,
  segmentName,
  segmentNumberOf,
} from "./wal.ts";

const MiB = 1024 ** 2;

test.each([
  ["0000000100000000000000FF", 16 * MiB, { timeline: 1, number: 255 }],
  ["000000010000000100000000", 16 * MiB, { timeline: 1, number: 256 }],
  ["0000000A0000000200000003", 64 * MiB, { timeline: 10, number: 131 }],
  ["00000001000000010000000F", 1024 * MiB, undefined],
  ["000000010000000000000100", 16 * MiB, undefined],
  ["00000001000000000000000D.partial", 16 * MiB, undefined],
  ["00000002.history", 16 * MiB, undefined],
])("%s with segments of %i bytes", (name, bytes, segment) => {
  const parsed = parseSegment(name, bytes);
  expect(parsed).toEqual(segment);
  expect(parsed === undefined ? undefined : segmentName(parsed, bytes)).toBe(
    segment === undefined ? undefined : name,
  );
});

test("a byte of the log lies in one segment", () => {
  const lsn = parseLsn("1/FE0000D8");
  expect(lsn).toBe(0x1_fe_00_00_d8n);
  expect(formatLsn(lsn ?? 0n)).toBe("1/FE0000D8");
  expect(segmentNumberOf(lsn ?? 0n)).toBe(510);
  expect(formatLsn(lsnOfSegment(510))).toBe("1/FE000000");
  expect(parseLsn("1FE0000D8")).toBeUndefined();
});

test("a history file tells every fork, oldest first", () => {
  const text =
    "1\t0/5000060\tno recovery target specified\n\n2\t1/A\tbefore 2026-11-24 02:00:00+00\n";
  expect(parseHistory(text)).toEqual([
    { parent: 1, lsn: 0x5_00_00_60n },
    { parent: 2, lsn: 0x1_00_00_00_0an },
  ]);
  expect(historyName(11)).toBe("0000000B.history");
  expect(parseHistoryName("0000000B.history")).toBe(11);
  expect(parseHistoryName("0000000B.history.ready")).toBeUndefined();
});
