import type { ByteString } from "./bytes.ts";

const mostStars = 10;

type Token = { literal: string } | "any";

/** `\*` and `\\` are literal; other escapes are none. Undefined where the pattern is malformed. */
function tokensOf(pattern: ByteString): Token[] | undefined {
  const tokens: Token[] = [];
  for (const [text, escaped] of pattern.matchAll(/\\([^])|\\|[^]/g)) {
    if (text === "*") tokens.push("any");
    else if (!text.startsWith("\\")) tokens.push({ literal: text });
    else if (escaped === "*" || escaped === "\\") tokens.push({ literal: escaped });
    else return undefined;
  }
  return tokens;
}

/** Why a pattern is no wildcard, or undefined. */
export function wildcardRefusal(pattern: ByteString): string | undefined {
  const tokens = tokensOf(pattern);
  if (tokens === undefined) return String.raw`in a wildcard \ comes before * or \ only`;
  if (tokens.filter((token) => token === "any").length > mostStars) {
    return `a wildcard has at most ${mostStars} stars`;
  }
  if (tokens.some((token, index) => token === "any" && tokens[index + 1] === "any")) {
    return "a wildcard has no two stars in a row";
  }
  return undefined;
}

/** Whether the whole of a value matches; without `strict`, ASCII letters in either case. */
export function compileWildcard(
  pattern: ByteString,
  strict: boolean,
): (value: ByteString) => boolean {
  const fold = (text: string): string =>
    strict ? text : text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
  const parts = [""];
  for (const token of tokensOf(pattern) ?? []) {
    if (token === "any") parts.push("");
    else parts.push(`${parts.pop() ?? ""}${fold(token.literal)}`);
  }
  return (value) => {
    const text = fold(value);
    const [first = "", ...others] = parts;
    if (others.length === 0) return text === first;
    const last = others.pop() ?? "";
    if (!text.startsWith(first)) return false;
    let at = first.length;
    for (const part of others) {
      const found = text.indexOf(part, at);
      if (found === -1) return false;
      at = found + part.length;
    }
    return text.length - last.length >= at && text.endsWith(last);
  };
}
