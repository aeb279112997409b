import { expect, test } from "vitest";
import { segmentOf } from "./server.ts";

test.each([
  ["00000001000000000000000D", "00000001000000000000000D"],
  ["00000001000000000000000D.00000028.backup", "00000001000000000000000D"],
  // What a new leader archives first (PostgreSQL 15, seen after a restart of a whole cluster).
  ["00000001000000000000000D.partial", null],
  ["00000002.history", null],
  [null, null],
])("the archived file %s proves the segment %s", (file, segment) => {
  expect(segmentOf(file)).toBe(segment);
});
