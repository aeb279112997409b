import { compileExpression } from "./language/compile.ts";
import { parseExpression } from "./language/parse.ts";
import { RequestFields } from "./language/request-fields.ts";
import type { EdgeRequest, Rule, Verdict } from "./model.ts";

/**
 * What custom rules do to requests: the first that matches and does more than log ends it.
 *
 * @throws CtmError `bad-expression` or `not-evaluated`, for a rule that cannot be evaluated
 */
export function compileRules(rules: readonly Rule[]): (request: EdgeRequest) => Verdict {
  const compiled = rules
    .filter(({ enabled }) => enabled)
    .map(({ ref, action, expression }) => ({
      ref,
      action,
      matches: compileExpression(parseExpression(expression)),
    }));
  return (request) => {
    const fields = new RequestFields(request);
    const logged: string[] = [];
    for (const { ref, action, matches } of compiled) {
      if (!matches(fields)) continue;
      if (action !== "log") return { action, ref, logged };
      logged.push(ref);
    }
    return { action: "allow", ref: null, logged };
  };
}
