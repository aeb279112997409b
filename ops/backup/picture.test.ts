import { expect, test } from "vitest";
import { createPaint } from "../paint.ts";
import { picture, type Recoverable } from "./picture.ts";

const paint = { ...createPaint({}, {}), columns: 25 };
const at = (hour: number): string => new Date(Date.UTC(2026, 10, 24, hour)).toISOString();

/** Hours 0 to 22 in 23 cells: one an hour. */
const whole: Recoverable = {
  backups: [
    { type: "full", stopped_at: at(0) },
    { type: "incr", stopped_at: at(6) },
    { type: "diff", stopped_at: at(12) },
  ],
  recoverable_from: at(0),
  recoverable_to: at(22),
  gaps: [],
  lost: [],
};

test.each<[what: string, change: Partial<Recoverable>, text: string, drawn: string]>([
  ["all of it", {}, "2026-11-24 22:00:00Z, no gap", "F─────I─────D──────────"],
  [
    "a hole until the next backup",
    { gaps: [{}], lost: [{ from: at(2), to: at(6) }] },
    "2026-11-24 22:00:00Z, 1 gap: ctm backup audit",
    "F─××××I─────D──────────",
  ],
  [
    "a hole that no backup followed",
    { gaps: [{}, {}], lost: [{ from: at(15), to: null }] },
    "2026-11-24 22:00:00Z, 2 gaps: ctm backup audit",
    "F─────I─────D──××××××××",
  ],
  [
    "one of a moment is seen all the same",
    { gaps: [{}], lost: [{ from: at(4), to: at(4) }] },
    "2026-11-24 22:00:00Z, 1 gap: ctm backup audit",
    "F───×─I─────D──────────",
  ],
  [
    "an end that nobody knows",
    { recoverable_to: null },
    "unknown (ctm status says why), no gap",
    "F──────────I──────────D".replaceAll("─", "┄"),
  ],
  [
    "an archive that cannot be listed",
    { gaps: null, lost: null },
    "2026-11-24 22:00:00Z, not audited for gaps: ctm backup audit says why",
    "F─────I─────D──────────",
  ],
  [
    "backups of before the window",
    { recoverable_from: at(11) },
    "2026-11-24 22:00:00Z, no gap",
    "──D────────────────────",
  ],
])("%s", (_, change, text, drawn) => {
  const recoverable = { ...whole, ...change };
  const from = recoverable.recoverable_from?.slice(11, 13);
  expect(picture(recoverable, paint)).toEqual([
    `recoverable: 2026-11-24 ${from}:00:00Z to ${text}`,
    `├${drawn}┤`,
  ]);
});

test("without a backup there is none", () => {
  expect(picture({ ...whole, recoverable_from: null }, paint)).toEqual([]);
});
