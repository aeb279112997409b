import { expect, test } from "vitest";
import { oneMorePays } from "./hiring.ts";

const quick = {
  workers: 1,
  placed: 1,
  runningMs: 100,
  placeMs: 50,
  finishedFiles: 20,
  waitingFiles: 40,
};

test.each([
  ["200 ms are left, and a place takes 50", {}, true],
  ["less is left than a place is worth", { waitingFiles: 19 }, false],
  ["places are dear", { placeMs: 300 }, false],
  ["what is left is shared by two", { workers: 2 }, false],
  ["nothing waits", { waitingFiles: 0 }, false],
  ["the first place is being made", { placed: 0, runningMs: 0 }, false],
  ["too little has run to tell", { runningMs: 10, finishedFiles: 0 }, false],
  ["the first file takes its time", { runningMs: 1000, finishedFiles: 0, waitingFiles: 1 }, true],
  ["two have worked on these files", { workers: 2, placed: 2, waitingFiles: 21 }, true],
])("%s", (_, change, expected) => {
  expect(oneMorePays({ ...quick, ...change })).toBe(expected);
});
