/** A key of ours anywhere in a text, whole or cut off. */
const keyInText = /ctm_[0-9a-f]{8,}/gi;

/** Names whose values are, or may be, secrets, in headers and in bodies. */
const secretName =
  /^params$|pass(word|wd|phrase)?$|secret|token|credential|authorization|cookie|api[-_]?key|private[-_]?key|signature|jwt/i;

const hidden = "[redacted]";

/** Headers worth keeping for whoever reads the access log; every other one may hold a secret. */
const keptHeaders = [
  "accept",
  "cf-ipcountry",
  "cf-ray",
  "content-length",
  "content-type",
  "host",
  "origin",
  "x-forwarded-for",
  "x-request-id",
];

/** Bodies beyond this many characters of JSON are replaced by a note of their size. */
const longestBody = 12_000;
const deepest = 8;

/** The text without API keys, and without what PostgreSQL cannot store (NUL, lone surrogates). */
export function redactText(text: string): string {
  return text.replace(keyInText, `ctm_${hidden}`).replaceAll("\0", "").toWellFormed();
}

export function redactHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of keptHeaders) {
    const value = headers[name];
    if (value !== undefined) kept[name] = redactText(String(value));
  }
  return kept;
}

/** A copy of a JSON value for the access log: no keys, no values of secret names, bounded. */
export function redactBody(body: unknown): unknown {
  if (body === undefined || body === null) return null;
  const copy = redactValue(body, deepest);
  const text = JSON.stringify(copy);
  return text.length <= longestBody ? copy : { omitted: "too long", characters: text.length };
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth === 0) return "[deeper]";
  if (Array.isArray(value)) return value.map((entry) => redactValue(entry, depth - 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, entry]) => [
      redactText(name),
      secretName.test(name) ? hidden : redactValue(entry, depth - 1),
    ]),
  );
}
