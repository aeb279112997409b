import { describe, expect, test } from "vitest";
import type { Assertion } from "../results.ts";
import { TapParser, type TapSummary, isFailure } from "./tap-parser.ts";

function parse(
  text: string,
): TapSummary & { assertions: Assertion[]; other: string[]; codes: string[] } {
  const assertions: Assertion[] = [];
  const other: string[] = [];
  const parser = new TapParser({
    onAssertion: (assertion) => assertions.push(assertion),
    onOther: (line) => other.push(line),
    onBailOut: () => undefined,
  });
  for (const line of text.split("\n")) parser.line(line, undefined);
  const summary = parser.end();
  return { ...summary, assertions, other, codes: summary.problems.map(({ code }) => code) };
}

describe("TAP as Perl's TAP::Parser reads it", () => {
  test.each([
    ["a plan first", "1..2\nok 1\nok 2", []],
    ["a plan last", "ok 1\nok 2\n1..2", []],
    ["tests without numbers", "1..2\nok\nok - two", []],
    ["a plan to skip everything", "1..0 # SKIP no time", []],
    ["nothing", "", ["no-tests"]],
    ["only output", "hello\n# comment", ["no-tests"]],
    ["no plan", "ok 1", ["no-plan"]],
    ["a plan for nothing", "1..0", ["no-tests"]],
    ["too few", "1..3\nok 1", ["plan-mismatch"]],
    ["too many", "1..1\nok 1\nok 2", ["plan-mismatch"]],
    ["a test after the last plan", "ok 1\n1..1\nok 2", ["output-after-plan", "plan-mismatch"]],
    ["two plans", "1..1\nok 1\n1..1", ["plan-twice"]],
    ["out of sequence, said once", "1..3\nok 2\nok 1\nok 5", ["out-of-sequence"]],
    ["bail out", "1..2\nok 1\nBail out!  no disk", ["bail-out", "plan-mismatch"]],
    ["bail out, indented", "1..1\nok 1\n    Bail out! no", ["bail-out"]],
    ["bail out, after a tab", "1..1\nok 1\n\tBail out! no", ["bail-out"]],
    ["no bail out, in small letters", "1..1\nok 1\nbail out! no", []],
    ["a plan with words behind it is none", "1..1 tests\nok 1", ["no-plan"]],
    ["nor is one with part of a number", "1..1.5\nok 1", ["no-plan"]],
    ["nor one that skips what it plans", "1..1 # SKIP x\nok 1", ["no-plan"]],
    ["nor one with a space that is not ASCII's", "1..1\u00a0\nok 1", ["no-plan"]],
    ["a plan with space behind it", "1..1 \t\r\nok 1", []],
    ["a number after a tab", "1..2\nok\t2\nok 2", ["out-of-sequence"]],
    ["a version of TAP", "TAP version 14\n1..1\nok 1", ["tap-version"]],
  ])("%s", (_, text, codes) => {
    expect(parse(text).codes).toEqual(codes);
  });

  test.each([
    ["ok 1 - it's fine", true, "it's fine", undefined],
    ["ok 1 it is fine", true, "it is fine", undefined],
    ["not ok 1 - broken", false, "broken", undefined],
    ["not ok 1 - later # TODO not yet", false, "later", { kind: "todo", reason: "not yet" }],
    ["ok 1 # skip not here", true, "", { kind: "skip", reason: "not here" }],
    ["ok 1 - hash \\# TODO is none", true, "hash # TODO is none", undefined],
    ["ok 1 - number #1", true, "number #1", undefined],
    ["ok", true, "", undefined],
    ["not ok 1 - a\rb", false, "a\rb", undefined],
    ["not ok 1 - a\u2028b\u2029c", false, "a\u2028b\u2029c", undefined],
    ["not ok 1 - a\u2028b # TODO c", false, "a\u2028b", { kind: "todo", reason: "c" }],
    ["not ok 1 - a #\u00a0TODO b", false, "a #\u00a0TODO b", undefined],
  ])("%s", (line, passed, description, directive) => {
    expect(parse(`1..1\n${line}`).assertions).toMatchObject([{ passed, description, directive }]);
  });

  test.each(["okay 1", "not okay", " ok 1", "OK 1", "1...2", "ok1 - no space"])(
    "%s is no test",
    (line) => {
      expect(parse(line).assertions).toEqual([]);
    },
  );

  test("a failed test counts as one unless it is TODO, also with SKIP", () => {
    const { counts, assertions } = parse(
      "1..4\nnot ok 1\nnot ok 2 # TODO x\nnot ok 3 # SKIP x\nok 4 # TODO x",
    );
    expect(counts).toEqual({ passed: 1, failed: 2, skipped: 0, todo: 1 });
    expect(assertions.map(isFailure)).toEqual([true, false, true, false]);
  });

  test("comments belong to the test before them", () => {
    const { assertions } = parse(
      '1..2\n# before\nnot ok 1 - x\n# Failed test 1: "x"\n#         have: 1\nok 2',
    );
    expect(assertions[0]?.diagnostics).toEqual(['Failed test 1: "x"', "        have: 1"]);
    expect(assertions[1]?.diagnostics).toEqual([]);
  });

  test("failed subtests belong to the test after them", () => {
    const { assertions, counts } = parse(
      [
        "# Subtest: unit.test_a()",
        "    ok 1 - fine",
        "    not ok 2 - broken",
        '    # Failed test 2: "broken"',
        "        not ok 1 - deeper",
        "    not ok 3 - outer",
        "    1..3",
        "not ok 1 - unit.test_a",
        "# Subtest: unit.test_b()",
        "    ok 1 - fine",
        "    1..1",
        "ok 2 - unit.test_b",
        "1..2",
      ].join("\n"),
    );
    expect(counts).toEqual({ passed: 1, failed: 1, skipped: 0, todo: 0 });
    expect(assertions[0]?.subtests).toMatchObject([
      { description: "broken", diagnostics: ['Failed test 2: "broken"'], subtests: [] },
      { description: "outer", subtests: [{ description: "deeper" }] },
    ]);
    expect(assertions[1]?.subtests).toEqual([]);
  });

  test("what ended the subtests, and what they said while they passed, belongs to their test", () => {
    const { assertions, counts } = parse(
      [
        "    # Subtest: unit.test_a()",
        "    ok 1 - fine",
        "    # three rows",
        "    not ok 2 - broken",
        '    # Failed test 2: "broken"',
        "    # Test died: P0001: no more",
        "    #         DETAIL:     for today",
        "not ok 1 - unit.test_a",
        '# Failed test 1: "unit.test_a"',
        "    # Subtest: unit.test_b()",
        "    # Test died: 22012: division by zero",
        "not ok 2 - unit.test_b",
        "1..2",
      ].join("\n"),
    );
    expect(counts.failed).toBe(2);
    expect(assertions).toMatchObject([
      {
        diagnostics: [
          "three rows",
          "Test died: P0001: no more",
          "        DETAIL:     for today",
          'Failed test 1: "unit.test_a"',
        ],
        subtests: [{ description: "broken", diagnostics: ['Failed test 2: "broken"'] }],
      },
      { diagnostics: ["Test died: 22012: division by zero"], subtests: [] },
    ]);
  });
});
