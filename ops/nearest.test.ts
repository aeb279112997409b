import { expect, test } from "vitest";
import { nearest } from "./nearest.ts";

const commands = ["status", "start", "stop", "backup list", "key create"];

test.each([
  ["stauts", "status"],
  ["STATUS", "status"],
  ["strat", "start"],
  ["stpo", "stop"],
  ["backup lsit", "backup list"],
  ["key craete", "key create"],
  ["destroy", undefined],
  ["x", undefined],
])("the command nearest to %s is %s", (typed, expected) => {
  expect(nearest(typed, commands)).toBe(expected);
});
