import { expect, test } from "vitest";
import { parseBeforeDrop, parseTarget, targetText } from "./target.ts";

const now = new Date("2026-11-24T12:00:00Z");
const time = (utc: string): object => ({
  kind: "time",
  at: new Date(`${utc.slice(0, 23).replace(" ", "T")}Z`),
  utc,
});

test.each([
  ["latest", { kind: "latest" }],
  ["20261124-020000F", { kind: "backup", label: "20261124-020000F" }],
  [
    "20261124-020000F_20261124-030000I",
    { kind: "backup", label: "20261124-020000F_20261124-030000I" },
  ],
  ["1/FE0000D8", { kind: "lsn", lsn: 0x1_fe_00_00_d8n, inclusive: true }],
  ["before:1/FE0000D8", { kind: "lsn", lsn: 0x1_fe_00_00_d8n, inclusive: false }],
  ["xid:1234", { kind: "transaction", xid: 1234 }],
  // pg_current_xact_id() counts on where the 32 bits of WAL begin again.
  ["xid:4294967999", { kind: "transaction", xid: 703 }],
  ["name:before the upgrade", { kind: "name", name: "before the upgrade" }],
  ["2026-11-24T02:10:44Z", time("2026-11-24 02:10:44.000000")],
  ["2026-11-24 02:10Z", time("2026-11-24 02:10:00.000000")],
  ["2026-11-24 02:10:44.123456 UTC", time("2026-11-24 02:10:44.123456")],
  ["2026-11-24 02:10:44+01", time("2026-11-24 01:10:44.000000")],
  ["2026-11-24 02:10:44.5-05:30", time("2026-11-24 07:40:44.500000")],
  ["2026-11-24 02:10 Europe/Berlin", time("2026-11-24 01:10:00.000000")],
  ["2026-07-01 02:10 America/New_York", time("2026-07-01 06:10:00.000000")],
  // The day on which Berlin's clocks went back, after they did.
  ["2026-10-25 03:30 Europe/Berlin", time("2026-10-25 02:30:00.000000")],
])("--to %s", (text, target) => {
  expect(parseTarget(text, now)).toEqual(target);
});

const elsewhere =
  '--to latest, "2026-11-24 02:10:44Z", 0/5000028, before:0/5000028, xid:1234, name:POINT, or a label of ctm backup list';

test.each([
  [
    "2026-11-24 02:10:44",
    'target-without-zone: "2026-11-24 02:10:44" has no time zone\nnext: --to "2026-11-24 02:10:44Z" for UTC',
  ],
  [
    "2026-11-24 12:00:01Z",
    "target-in-future: 2026-11-24T12:00:01.000Z is after 2026-11-24T12:00:00.000Z, now\nnext: --to latest for everything that is archived",
  ],
  [
    "2026-10-25 02:30 Europe/Berlin",
    'target-ambiguous: "2026-10-25 02:30 Europe/Berlin" was twice: the clocks went back\nnext: give the time in UTC, with Z',
  ],
  [
    "2026-03-29 02:30 Europe/Berlin",
    'bad-target: "2026-03-29 02:30 Europe/Berlin" never was: the clocks went forward\nnext: give the time in UTC, with Z',
  ],
  [
    "2026-11-24 02:10 Europe/Nowhere",
    'bad-target: "2026-11-24 02:10 Europe/Nowhere": Europe/Nowhere is no time zone\nnext: give the time in UTC, with Z',
  ],
  ["1234", 'bad-target: "1234" may be a transaction or a time\nnext: --to xid:1234'],
  ["xid:2", 'bad-target: "2" is no transaction\nnext: --to xid:1234'],
  ["name:", 'bad-target: "" is no name of a restore point\nnext: --to name:POINT'],
  ["2026-02-30 02:10Z", `bad-target: "2026-02-30 02:10Z" is no time\nnext: ${elsewhere}`],
  ["2026-11-24 25:10Z", `bad-target: "2026-11-24 25:10Z" is no time\nnext: ${elsewhere}`],
  // Three letters mean several zones: CST is in America, China and Cuba.
  ["2026-11-24 02:10 CST", `bad-target: "2026-11-24 02:10 CST" is no target\nnext: ${elsewhere}`],
  ["11/24/2026 02:10Z", `bad-target: "11/24/2026 02:10Z" is no target\nnext: ${elsewhere}`],
  ["yesterday", `bad-target: "yesterday" is no target\nnext: ${elsewhere}`],
  ["", `bad-target: "" is no target\nnext: ${elsewhere}`],
])("--to %s is refused", (text, message) => {
  expect(() => parseTarget(text, now)).toThrow(
    expect.objectContaining({ text: message, exitCode: 2 }),
  );
});

test("--before-drop takes a table, of the schema public where none is named", () => {
  expect(parseBeforeDrop("tasks", 1)).toEqual({
    kind: "before-drop",
    schema: "public",
    table: "tasks",
    drop: 1,
  });
  expect(parseBeforeDrop("other.tasks", 2)).toMatchObject({ schema: "other", drop: 2 });
  expect(() => parseBeforeDrop("a.b.c", 1)).toThrow('"a.b.c" is no table');
});

test.each([
  ["2026-11-24 02:10:44.500Z", "2026-11-24 02:10:44.5Z"],
  ["2026-11-24 02:10:40Z", "2026-11-24 02:10:40Z"],
  ["1/fe0000d8", "LSN 1/FE0000D8"],
  ["before:1/fe0000d8", "before LSN 1/FE0000D8"],
  ["xid:9", "the commit of transaction 9"],
])("%s is shown as %s", (text, shown) => {
  expect(targetText(parseTarget(text, now))).toBe(shown);
});
