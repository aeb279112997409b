import { expect, test } from "vitest";
import type { ProgramState } from "#runtime";
import { watchStandbys } from "./standby-watch.ts";

/** Looks five times a second; each state is seen for so many seconds. */
function watched(
  story: readonly [state: string | undefined, seconds: number, program?: ProgramState][],
): { after: number; why: string } | undefined {
  const watch = watchStandbys();
  let nowMs = 0;
  for (const [state, seconds, program] of story) {
    for (const end = nowMs + seconds * 1000; nowMs < end; nowMs += 200) {
      const sights = [
        { name: "m1", state: "running", program: "RUNNING" as const },
        { name: "m2", state, program: program ?? ("RUNNING" as const) },
      ];
      const failed = watch(sights, nowMs);
      if (failed !== undefined) return { after: Math.round(nowMs / 1000), why: failed.why };
    }
  }
  return undefined;
}

const hours = 3_600;
const again = <T>(times: number, states: readonly T[]): T[] =>
  Array.from({ length: times }, () => states).flat();

test("a standby that is slow but comes is waited for", () => {
  expect(
    watched([
      [undefined, 20],
      ["stopped", 10],
      ["creating replica", 5 * hours],
      ["starting", 2 * hours],
      ["running", 10],
    ]),
  ).toBeUndefined();
});

test("one that meets an obstacle and then comes is waited for too", () => {
  const story: [string, number][] = [
    ["start failed", 20],
    ["starting", 30],
    ["running", 1],
    ["start failed", 50],
    ["creating replica", 600],
    ["stopped", 5],
    ["creating replica", 600],
    ["starting", 30],
    ["running", 1],
  ];
  expect(watched(story)).toBeUndefined();
});

test("one that fails to start again and again does not come", () => {
  const failed = watched(
    again(100, [
      ["start failed", 5],
      ["starting", 1],
    ]),
  );
  expect(failed).toMatchObject({ why: '"start failed" for 60 s' });
  expect(failed?.after).toBeLessThan(90);
});

test("nor does one whose copying fails each time", () => {
  const failed = watched(
    again(100, [
      ["creating replica", 60],
      ["stopped", 5],
    ]),
  );
  expect(failed).toMatchObject({ why: "copying the leader's data failed 3 times" });
});

test("nor one whose Patroni is gone, whatever etcd still has of it", () => {
  expect(watched([["running", 100, "FATAL"]])).toMatchObject({ why: '"Patroni FATAL" for 60 s' });
});
