// Against the parser that Cloudflare uses itself (wirefilter), in its wrapping for Python.
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { pythonVenv } from "../../../../test/python-venv.ts";
import { exampleSettings } from "../../testing/example-settings.ts";
import { plans, zoneRules } from "../index.ts";
import {
  documentedOtherwise,
  expressionsByChance,
  expressionsByHand,
  patternsElsewhere,
} from "../testing/expressions.ts";
import { parseExpression } from "./parse.ts";
import { printExpression } from "./print.ts";

const version = "0.7.0";
const hasPython =
  spawnSync("python3", ["-c", "import ensurepip, venv"], { stdio: "ignore" }).status === 0;

/** All of ours, in the one form in which the package registers url_decode. */
const ours = [
  ...new Set(
    plans.flatMap((plan) => {
      const settings = exampleSettings({
        plan,
        countries: ["DE", "US"],
        blockedNetworks: [64_496],
        lockdown: { until: "2031-01-01T00:00:00Z", allowedAddresses: ["198.51.100.9/24", "::1"] },
        mayDegrade: { customRules: true, rateLimits: true, managedRules: true },
      });
      const { custom, rateLimits, managed } = zoneRules(settings);
      return [...custom, ...rateLimits, ...managed].map(({ expression }) => expression);
    }),
  ),
];
const asRegistered = (expression: string): string => expression.replaceAll(', "ur")', ")");

/** Null where we accept it, else why not. */
function refusalOf(expression: string): string | null {
  try {
    parseExpression(expression);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe.skipIf(!hasPython)("the real parser", () => {
  let python: string;

  beforeAll(async () => {
    const venv = await pythonVenv(`wirefilter-${version}`, [`octorules-wirefilter==${version}`]);
    python = join(venv, "bin", "python");
  }, 600_000);

  /** Null for each expression that it accepts, else its error. */
  const refusalsOf = (expressions: readonly string[]): (string | null)[] => {
    const program = `import json, sys, octorules_wirefilter as parser
print(json.dumps([parser.parse_expression(one).get("error") for one in json.load(sys.stdin)]))`;
    const answer = execFileSync(python, ["-c", program], { input: JSON.stringify(expressions) });
    return z.array(z.string().nullable()).parse(JSON.parse(answer.toString()));
  };

  it("agrees on what is an expression: by hand, ours, and by chance, 500 in all", () => {
    const known = [...expressionsByHand, ...ours.map(asRegistered)];
    const byChance = expressionsByChance("ctm", 600).filter((one) => one.trim() !== "");
    const all = [...new Set([...known, ...byChance])].slice(0, 500);
    expect(all).toHaveLength(500);
    const theirs = refusalsOf(all);
    const disagreed = all.flatMap((expression, index) => {
      const [real = null, own] = [theirs[index], refusalOf(expression)];
      return (real === null) === (own === null) ? [] : [{ expression, real, own }];
    });
    expect(disagreed).toEqual([]);
    const valid = theirs.filter((one) => one === null).length;
    expect(valid).toBeGreaterThan(200);
    expect(all.length - valid).toBeGreaterThan(150);
  });

  it("accepts what we print, of the same 500", () => {
    const printed = [...expressionsByHand, ...expressionsByChance("ctm", 600)]
      .filter((one) => refusalOf(one) === null)
      .map((one) => printExpression(parseExpression(one)));
    expect(refusalsOf(printed).filter((one) => one !== null)).toEqual([]);
  });

  it.each([
    ["takes other parameters than documented", documentedOtherwise],
    ["knows more patterns", patternsElsewhere],
  ])("%s: these, and no others, so that a new version is noticed", (_what, expressions) => {
    const theirs = refusalsOf(expressions);
    const differs = expressions.filter(
      (one, index) => (theirs[index] === null) !== (refusalOf(one) === null),
    );
    expect(differs).toEqual(expressions);
  });
});

it.each([
  ["by hand", expressionsByHand],
  ["ours", ours],
  ["by chance", expressionsByChance("ctm", 600)],
])("what is printed is parsed as the same expression: %s", (_whose, expressions) => {
  const valid = expressions.filter((one) => refusalOf(one) === null);
  expect(valid.length).toBeGreaterThan(10);
  for (const expression of valid) {
    const parsed = parseExpression(expression);
    expect(parseExpression(printExpression(parsed)), expression).toEqual(parsed);
  }
});

it("gives our own expressions back as they are", () => {
  for (const expression of ours) {
    expect(printExpression(parseExpression(expression))).toBe(expression);
  }
});
