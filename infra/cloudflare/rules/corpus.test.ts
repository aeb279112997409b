// Other people's attacks are blocked, ordinary requests are not; docs/edge-rules.md has the figures.
import { beforeAll, describe, expect, it } from "vitest";
import { exampleSettings } from "../testing/example-settings.ts";
import { compileRules, plans, zoneRules, type Plan, type Rule } from "./index.ts";
import { hasAttackLists, readAttacks, type Attack } from "./testing/attacks.ts";
import { measureAttacks } from "./testing/measure.ts";
import { hasOrdinaryTexts, ordinaryRequests, type Ordinary } from "./testing/ordinary.ts";

const rulesOf = (plan: Plan): Rule[] =>
  zoneRules(
    exampleSettings({
      plan,
      mayDegrade: { customRules: true, rateLimits: true, managedRules: true },
    }),
  ).custom;

describe.skipIf(!hasOrdinaryTexts)("ordinary requests", () => {
  let ordinary: Ordinary[];

  beforeAll(async () => {
    ordinary = await ordinaryRequests();
  });

  it("are a thousand, from several sources", () => {
    expect(ordinary).toHaveLength(1000);
    expect(new Set(ordinary.map(({ source }) => source)).size).toBeGreaterThan(100);
  });

  it.each(plans)("all pass on %s", (plan) => {
    const decide = compileRules(rulesOf(plan));
    const stopped = ordinary.flatMap(({ source, request }) => {
      const { ref } = decide(request);
      return ref === null ? [] : [{ ref, source, query: request.query, body: request.body }];
    });
    expect(stopped).toEqual([]);
  });
});

describe.skipIf(!hasAttackLists)("attacks", () => {
  let attacks: Attack[];

  beforeAll(async () => {
    attacks = await readAttacks();
  });

  const leastRates = (plan: Plan, half: Attack["half"]): Record<string, number> => {
    const measured = measureAttacks(
      rulesOf(plan),
      attacks.filter((one) => one.half === half),
    );
    const least: Record<string, number> = {};
    for (const { placement, sent, blocked } of measured) {
      least[placement.part] = Math.min(least[placement.part] ?? 1, blocked / sent);
    }
    return least;
  };

  it("are thousands, in two halves", () => {
    expect(attacks.filter(({ half }) => half === "held out").length).toBeGreaterThan(3000);
    expect(attacks.filter(({ half }) => half === "tuned").length).toBeGreaterThan(3000);
  });

  it.each(["tuned", "held out"] as const)(
    "of the half %s: at least 95 percent blocked wherever they are put, by what Business can hold",
    (half) => {
      const { path, query, header } = leastRates("business", half);
      expect(path).toBe(1);
      expect(query).toBeGreaterThanOrEqual(0.95);
      expect(header).toBeGreaterThanOrEqual(0.95);
    },
  );

  it.each(["tuned", "held out"] as const)(
    "of the half %s: at least 95 percent blocked in bodies too, by Enterprise",
    (half) => {
      expect(leastRates("enterprise", half)["body"]).toBeGreaterThanOrEqual(0.95);
    },
  );

  it.each(["free", "pro"] as const)("%s has no patterns, and blocks four of five", (plan) => {
    const { path, query, header } = leastRates(plan, "held out");
    expect(path).toBe(1);
    expect(query).toBeGreaterThanOrEqual(0.8);
    expect(header).toBeGreaterThanOrEqual(0.8);
  });
});
