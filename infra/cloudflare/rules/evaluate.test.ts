import { expect, it } from "vitest";
import { compileRules, type EdgeRequest, type Rule, type Verdict } from "./index.ts";
import { requestOf } from "./testing/requests.ts";

const rule = (ref: string, expression: string, changes: Partial<Rule> = {}): Rule => ({
  ref,
  expression,
  description: ref,
  action: "block",
  enabled: true,
  ...changes,
});

it("ends with the first rule that matches, and passes on what is only logged", () => {
  const decide = compileRules([
    rule("off", "ssl", { enabled: false }),
    rule("seen", 'http.request.method eq "PUT"', { action: "log" }),
    rule("plain", "not ssl", { action: "managed_challenge" }),
    rule("put", 'http.request.method in {"PUT" "PATCH"}'),
    rule("all", "ip.src in {198.51.100.0/24}"),
  ]);
  const cases: [Partial<EdgeRequest>, Verdict][] = [
    [{}, { action: "allow", ref: null, logged: [] }],
    [{ method: "PUT" }, { action: "block", ref: "put", logged: ["seen"] }],
    [
      { method: "PUT", scheme: "http" },
      { action: "managed_challenge", ref: "plain", logged: ["seen"] },
    ],
    [{ ip: "198.51.100.9" }, { action: "block", ref: "all", logged: [] }],
  ];
  for (const [changes, verdict] of cases) expect(decide(requestOf(changes))).toEqual(verdict);
});

it.each([
  ["http.host eq", '1:13: "text" is expected, at the end'],
  [
    'ssl and\nhttp.hots eq "a"',
    '2:1: http.hots is no field and no function, at "http.hots eq "a""',
  ],
])("refuses %j, naming the place", (expression, message) => {
  expect(() => compileRules([rule("x", expression)])).toThrow(message);
});

it.each([
  ["cf.threat_score gt 10", "the field cf.threat_score is not evaluated here"],
  ["ip.src in $office", "the list $office is not evaluated here"],
  ['to_string(ssl) eq "true"', "the function to_string is not evaluated here"],
])("does not pretend to know %s", (expression, message) => {
  expect(() => compileRules([rule("x", expression)])(requestOf())).toThrow(message);
});
