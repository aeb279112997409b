import { RE2JS } from "re2js";
import type { ByteString } from "./bytes.ts";

/**
 * The edge runs patterns with Rust's regex crate over bytes, without Unicode. RE2 means the same by
 * the same pattern, but for what is refused or translated here; it too takes linear time.
 */
const token = /\\x\{[0-9a-fA-F]+\}|\\x[0-9a-fA-F]{2}|\\[^]|\\$|\(\?[^:)]*[:)]?|\{[^}]*\}?|[^]/y;
/** Within a class a bracket or brace is a sign like any other. */
const classToken = /\\x\{[0-9a-fA-F]+\}|\\x[0-9a-fA-F]{2}|\\[^]|\\$|\[:\^?\w+:\]|&&|--|~~|[^]/y;

const elsewhere = "is valid at the edge, but not evaluated here";
const quantifier = /^(\{\d+(,\d*)?\}|[*+?])$/;

interface Scan {
  refusal?: string;
  /** The pattern for RE2, where nothing is refused. */
  translated: string;
}

function scan(pattern: ByteString): Scan {
  const caseless = /\(\?[a-z]*i/.test(pattern);
  let translated = "";
  let inClass = false;
  let quantified = 0;
  const refuse = (refusal: string): Scan => ({ refusal, translated: "" });
  for (let index = 0, end = 0; index < pattern.length; index = end) {
    const next = inClass ? classToken : token;
    next.lastIndex = index;
    const text = next.exec(pattern)?.[0] ?? pattern.charAt(index);
    end = index + text.length;
    const place = `${text} in the pattern at ${index + 1}`;
    if (/^\\[pP]/.test(text)) return refuse(`${place} needs Unicode, which is off`);
    if (/^\\[1-9]/.test(text)) return refuse(`${place}: backreferences do not exist`);
    if (/^\\[0CQEZGhHeykRXKVN]/.test(text)) return refuse(`${place} is no escape`);
    if (/^\\([uU<>]|x\{)/.test(text)) return refuse(`${place} ${elsewhere}`);
    if (/^\(\?(=|!|<=|<!)/.test(text)) return refuse(`${place}: look-around does not exist`);
    if (/^\(\?[a-z-]*[uxR]/.test(text)) return refuse(`${place} ${elsewhere}`);
    const wide = /[\u0080-\u00FF]/.test(text);
    if (wide && inClass) return refuse(`${place}: a class has no character beyond ASCII`);
    if (caseless && (wide || /^\\x[89a-f]/i.test(text))) return refuse(`${place} ${elsewhere}`);
    if (inClass) {
      if (
        text === "[" ||
        text === "&&" ||
        text === "--" ||
        text === "~~" ||
        text === String.raw`\S`
      ) {
        return refuse(`${place} within a class ${elsewhere}`);
      }
      if (text === "]" && !opensClass(pattern, index)) inClass = false;
      translated += text === String.raw`\s` ? String.raw`\t-\r ` : text;
      continue;
    }
    if (text.startsWith("{") && !quantifier.test(text)) return refuse(`${place} is no repetition`);
    quantified = quantifier.test(text) ? quantified + 1 : 0;
    // There the whole character is repeated, here its last byte would be.
    if (quantified > 0 && /[\u0080-\u00FF]/.test(pattern.charAt(index - 1))) {
      return refuse(`${place}: a repetition of a character beyond ASCII ${elsewhere}`);
    }
    // One question mark after a repetition makes it lazy.
    if (quantified > 2 || (quantified === 2 && text !== "?")) {
      return refuse(`${place}: a repetition of a repetition ${elsewhere}`);
    }
    if (text === "[") inClass = true;
    if (text === String.raw`\s`) translated += String.raw`[\t-\r ]`;
    else if (text === String.raw`\S`) translated += String.raw`[^\t-\r ]`;
    else translated += text;
  }
  return { translated };
}

/** Whether a `]` stands first in its class, where it is a member. */
function opensClass(pattern: string, index: number): boolean {
  return /\[\^?$/.test(pattern.slice(0, index)) && !/\\\[\^?$/.test(pattern.slice(0, index));
}

/** Why a pattern cannot be used, or undefined. */
export function regexRefusal(pattern: ByteString): string | undefined {
  const { refusal, translated } = scan(pattern);
  if (refusal !== undefined) return refusal;
  try {
    RE2JS.compile(translated);
    return undefined;
  } catch (error) {
    return `this is no pattern: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Whether a value has a match anywhere in it. */
export function compileRegex(pattern: ByteString): (value: ByteString) => boolean {
  const compiled = RE2JS.compile(scan(pattern).translated);
  return (value) => compiled.test(value);
}
