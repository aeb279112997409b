import { describe, expect, test } from "vitest";
import { requestBudget, tightest } from "./rate-limit.ts";

const hour = 3600;
const day = 86_400;
/** Half past the 100th hour since 1970. */
const now = 100 * hour + 1800;

function use(changes: { used?: number; before?: number; window?: number; dayUsed?: number }) {
  return {
    now,
    short_window: changes.window ?? 100,
    short_used: changes.used ?? 0,
    short_before: changes.before ?? 0,
    long_window: Math.floor(now / day),
    long_used: changes.dayUsed ?? 0,
    long_before: 0,
  };
}

describe("what a key has left", () => {
  test.each<[string, Parameters<typeof use>[0], number, number]>([
    ["of an unused hour is all", {}, 10, 0],
    ["is what this hour did not use", { used: 4 }, 6, 0],
    ["counts the part of the last hour that is still less than an hour ago", { before: 8 }, 6, 0],
    ["counts both", { used: 3, before: 8 }, 3, 0],
    ["counts a row of the last hour as the last hour", { used: 8, window: 99 }, 6, 0],
    ["forgets older hours", { used: 8, before: 8, window: 98 }, 10, 0],
    // 10 - 4 - 12 x 0.5 = 0; one more fits when 12 fades to 5: after 7/12 of the hour.
    ["comes back as the last hour fades", { used: 4, before: 12 }, 0, 300],
    // Used up within this hour: when 10 fade to 9, a tenth into the next.
    ["comes back in the next hour", { used: 10 }, 0, 1800 + 360],
  ])("%s", (_what, changes, remaining, waitSeconds) => {
    const found = tightest(requestBudget(10, 1000), use(changes));
    expect(found.allowance.remaining).toBe(remaining);
    expect(found.waitSeconds).toBe(waitSeconds);
    expect(found.allowance.resetAt.getTime()).toBe(101 * hour * 1000);
  });

  test("is the day's where that is nearer to its limit", () => {
    const found = tightest(requestBudget(10, 20), use({ used: 5, dayUsed: 19 }));
    expect(found.window.seconds).toBe(day);
    expect(found.allowance).toMatchObject({ limit: 20, remaining: 1 });
  });
});
