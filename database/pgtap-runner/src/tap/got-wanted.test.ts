import { describe, expect, test } from "vitest";
import { diffLines, readDifference } from "./got-wanted.ts";

describe("what pgTAP's diagnostics tell", () => {
  test.each([
    ["is()", ['Failed test 1: "x"', "        have: 1", "        want: 2"], ["1"], ["2"], []],
    ["empty values", ["        have: ", "        want: NULL"], [""], ["NULL"], []],
    [
      "values of several lines",
      ["        have: one", "two", "        want: one", "three"],
      ["one", "two"],
      ["one", "three"],
      [],
    ],
    [
      "throws_ok()",
      ["      caught: P0001: no", "      wanted: 42501"],
      ["P0001: no"],
      ["42501"],
      [],
    ],
    [
      "results_eq()",
      [
        "    Results differ beginning at row 3:",
        "        have: (1,Anna)",
        "        want: (22,Betty)",
      ],
      ["(1,Anna)"],
      ["(22,Betty)"],
      ["    Results differ beginning at row 3:"],
    ],
    [
      "set_eq()",
      [
        "    Extra records:",
        "        (87,Jackson)",
        "        (1,Jacob)",
        "    Missing records:",
        "        (44,Anna)",
      ],
      ["(87,Jackson)", "(1,Jacob)"],
      ["(44,Anna)"],
      [],
    ],
    [
      "alike()",
      ["                  'foo'", "   doesn't match: 'bar%'"],
      [],
      [],
      ["                  'foo'", "   doesn't match: 'bar%'"],
    ],
  ])("%s", (_, diagnostics, got, wanted, rest) => {
    expect(readDifference(diagnostics)).toEqual({ got, wanted, rest });
  });
});

describe("a diff", () => {
  const show = (wanted: string[], got: string[]): string =>
    diffLines(wanted, got)
      .map(({ kind, text }) => `${{ same: " ", wanted: "-", got: "+" }[kind]}${text}`)
      .join("|");

  test.each([
    [["a"], ["b"], "-a|+b"],
    [["a", "b", "c"], ["a", "c"], " a|-b| c"],
    [["a", "c"], ["a", "b", "c"], " a|+b| c"],
    [[], ["a"], "+a"],
    [["a", "b"], ["b", "a"], "-a| b|+a"],
  ])("of %j and %j", (wanted, got, shown) => {
    expect(show(wanted, got)).toBe(shown);
  });

  test("of very long texts shows both", () => {
    const wanted = Array.from({ length: 600 }, (_, index) => `w${index}`);
    const lines = diffLines(wanted, ["x"]);
    expect(lines).toHaveLength(601);
    expect(lines.at(-1)).toEqual({ kind: "got", text: "x" });
  });
});
