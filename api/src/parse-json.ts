import { ApiError } from "./api-error.ts";

/** Deepest nesting of a body: what is deeper overflows the stacks of those who work with it. */
const deepest = 32;

/** Only escapes can write what is refused below, except for the name itself. */
const suspect = /\\u|__proto__/;

/**
 * Parses a request body.
 *
 * @throws ApiError VALIDATION_ERROR for what is no JSON, nests too deep, would change an object's
 *   prototype, or holds text that the database cannot store
 */
export function parseJson(text: string): unknown {
  checkDepth(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refusal("The body is not valid JSON.");
  }
  if (suspect.test(text)) checkContent(value);
  return value;
}

function checkDepth(text: string): void {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charCodeAt(index);
    if (inString) {
      if (character === 0x5c) index += 1;
      else if (character === 0x22) inString = false;
    } else if (character === 0x22) inString = true;
    else if (character === 0x7b || character === 0x5b) {
      depth += 1;
      if (depth > deepest) throw refusal(`The body nests deeper than ${deepest} levels.`);
    } else if (character === 0x7d || character === 0x5d) depth -= 1;
  }
}

function checkContent(value: unknown): void {
  if (typeof value === "string") {
    if (value.includes("\0") || !value.isWellFormed()) {
      throw refusal("The body has text with a NUL or half of a surrogate pair.");
    }
  } else if (typeof value === "object" && value !== null) {
    for (const [name, entry] of Object.entries(value)) {
      if (name === "__proto__") throw refusal('The body has a key "__proto__".');
      checkContent(name);
      checkContent(entry);
    }
  }
}

function refusal(message: string): ApiError {
  return new ApiError("VALIDATION_ERROR", message);
}
