import { CtmError } from "#system";

/** Something is wrong with an expression, at a place in it. */
export function expressionError(source: string, offset: number, what: string): CtmError {
  const before = source.slice(0, offset).split("\n");
  const line = before.length;
  const column = (before.at(-1)?.length ?? 0) + 1;
  const excerpt = source.slice(offset, offset + 40).split("\n")[0] ?? "";
  const near = excerpt === "" ? "the end" : `"${excerpt}"`;
  return new CtmError("bad-expression", `${line}:${column}: ${what}, at ${near}`, {
    next: "correct the expression; https://developers.cloudflare.com/ruleset-engine/rules-language/",
    exitCode: 2,
  });
}
