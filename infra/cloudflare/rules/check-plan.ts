import type { Argument, Expression, Value } from "./language/ast.ts";
import { fields } from "./language/fields.ts";
import { signatureOf } from "./language/functions.ts";
import { parseExpression } from "./language/parse.ts";
import { plans, type Plan, type RateLimitRule, type Rule } from "./model.ts";
import { longestExpression, mitigations, periods, planLimits } from "./plan-limits.ts";

type Phase = "custom" | "rate limit";

/** What an expression uses. */
interface Uses {
  fields: Set<string>;
  functions: Set<string>;
  operators: Set<string>;
}

/**
 * What a plan cannot do of these rules: each entry names the rule, the limit, and the nearest form
 * that the plan allows.
 *
 * @throws CtmError `bad-expression`
 */
export function planProblems(
  plan: Plan,
  rules: { custom: readonly Rule[]; rateLimits: readonly RateLimitRule[] },
): string[] {
  const limits = planLimits[plan];
  const { custom, rateLimits } = rules;
  return [
    ...countProblems(plan, "custom rules", custom, limits.customRules),
    ...countProblems(plan, "rate limits", rateLimits, limits.rateLimitRules),
    ...custom.flatMap((rule) => ruleProblems(plan, "custom", rule)),
    ...rateLimits.flatMap((rule) => [
      ...ruleProblems(plan, "rate limit", rule),
      ...rateProblems(plan, rule),
    ]),
  ];
}

function countProblems(plan: Plan, what: string, rules: readonly Rule[], most: number): string[] {
  if (rules.length <= most) return [];
  const names = rules
    .slice(most)
    .map(({ ref }) => ref)
    .join(", ");
  return [
    `${names}: the plan ${plan} holds ${most} ${what}, not ${rules.length}; nearest: some of them merged`,
  ];
}

function ruleProblems(plan: Plan, phase: Phase, { ref, expression, action }: Rule): string[] {
  const problems: string[] = [];
  const add = (what: string, nearest: string): void => {
    problems.push(`${ref}: ${what}; nearest: ${nearest}`);
  };
  if (action === "log" && !planLimits[plan].enterprise) {
    add("the action log needs the plan enterprise", "the action block");
  }
  if (expression.length > longestExpression) {
    add(
      `its expression has ${expression.length} characters, at most ${longestExpression} are allowed`,
      "two rules",
    );
  }
  const uses = usesOf(parseExpression(expression));
  if (uses.operators.has("matches") && !planLimits[plan].patterns) {
    add("the operator matches needs the plan business", "wildcard, contains and lengths");
  }
  for (const name of uses.fields) {
    const availability = fields.get(name)?.availability;
    if (availability === undefined) continue;
    if (availability === "response") {
      add(`the field ${name} is not known before the response`, "a field of the request");
    } else if (plans.indexOf(plan) < plans.indexOf(availability)) {
      add(`the field ${name} needs the plan ${availability}`, nearestField(name));
    } else if (phase === "rate limit") {
      const allowed = planLimits[plan].rateLimitFields;
      if (allowed?.has(name) === false) {
        add(
          `the plan ${plan} counts requests by ${[...allowed].join(", ")}, not by ${name}`,
          "the path alone",
        );
      }
    }
  }
  for (const name of uses.functions) {
    const signature = signatureOf(name);
    if (signature === undefined) continue;
    const usable =
      signature.availability === "custom and rate limit" || signature.availability === phase;
    if (!usable) {
      add(`the function ${name} cannot be called in a ${phase} rule`, "the field itself");
    } else if (plans.indexOf(plan) < plans.indexOf(signature.plan)) {
      add(`the function ${name} needs the plan ${signature.plan}`, "a header's shape");
    }
  }
  return problems;
}

function nearestField(name: string): string {
  if (name === "http.request.body.size") return 'http.request.headers["content-length"]';
  if (name.startsWith("http.request.body.")) {
    return "http.request.uri.query and http.request.headers";
  }
  if (name === "http.request.cookies") return "http.cookie";
  return "a rule without it";
}

function rateProblems(plan: Plan, { ref, action, rateLimit }: RateLimitRule): string[] {
  const { longestPeriod, longestMitigation, enterprise, countsByMore } = planLimits[plan];
  const { characteristics, period, requestsPerPeriod, mitigationTimeout } = rateLimit;
  const problems: string[] = [];
  const add = (what: string, nearest: string): void => {
    problems.push(`${ref}: ${what}; nearest: ${nearest}`);
  };
  const allowedPeriods: readonly number[] = periods.filter((one) => one <= longestPeriod);
  // Only Enterprise takes other numbers than the listed ones.
  if (!allowedPeriods.includes(period) && (!enterprise || period > longestPeriod)) {
    const best = allowedPeriods.findLast((one) => one <= period) ?? 10;
    const requests = Math.ceil((requestsPerPeriod * best) / period);
    add(
      `the plan ${plan} counts over ${allowedPeriods.join(", ")} s, not ${period} s`,
      `${requests} requests in ${best} s`,
    );
  }
  const allowed: readonly number[] = mitigations.filter((one) => one <= longestMitigation);
  const challenges = action.includes("challenge");
  if (challenges && !enterprise && mitigationTimeout !== 0) {
    add(`below enterprise a challenge has no mitigation time, not ${mitigationTimeout} s`, "0 s");
  } else if (!challenges && !enterprise && mitigationTimeout === 0) {
    add("below enterprise a block has a mitigation time, not 0 s", "10 s");
  } else if (!allowed.includes(mitigationTimeout)) {
    add(
      `the plan ${plan} mitigates for ${allowed.join(", ")} s, not ${mitigationTimeout} s`,
      `${allowed.findLast((one) => one <= mitigationTimeout) ?? 10} s`,
    );
  }
  if (!characteristics.includes("cf.colo.id")) {
    add("requests are counted in each data centre, by cf.colo.id", "cf.colo.id added");
  }
  const more = characteristics.filter((one) => one !== "cf.colo.id" && one !== "ip.src");
  if (
    more.length > 0 &&
    !countsByMore &&
    !(plan === "business" && more.join("") === "cf.unique_visitor_id")
  ) {
    add(`the plan ${plan} counts by ip.src, not by ${more.join(", ")}`, "ip.src");
  }
  return problems;
}

function usesOf(expression: Expression): Uses {
  const uses: Uses = { fields: new Set(), functions: new Set(), operators: new Set() };
  collect(expression, uses);
  return uses;
}

function collect(expression: Expression, uses: Uses): void {
  switch (expression.kind) {
    case "combination": {
      for (const operand of expression.operands) collect(operand, uses);
      break;
    }
    case "negation": {
      collect(expression.operand, uses);
      break;
    }
    case "comparison": {
      const { left, test } = expression;
      uses.operators.add(test.operator);
      collectValue(left, uses);
      if ("right" in test && typeof test.right === "object") collectArgument(test.right, uses);
      break;
    }
  }
}

function collectValue({ source }: Value, uses: Uses): void {
  if ("field" in source) {
    uses.fields.add(source.field);
    return;
  }
  uses.functions.add(source.call);
  for (const one of source.arguments) collectArgument(one, uses);
}

function collectArgument(argument: Argument, uses: Uses): void {
  switch (argument.kind) {
    case "value": {
      collectValue(argument, uses);
      break;
    }
    case "combination":
    case "negation":
    case "comparison": {
      collect(argument, uses);
      break;
    }
    case "bytes":
    case "integer":
    case "address": {
      break;
    }
  }
}
