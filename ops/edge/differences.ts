/**
 * Leaf by leaf, what is declared and found otherwise, in words. What Cloudflare adds of its own
 * (ids, times, versions) is not looked at; an entry too many in a list is.
 */
export function differencesOf(declared: unknown, found: unknown, path: string): string[] {
  if (Array.isArray(declared)) {
    if (!Array.isArray(found)) return [said(path, declared, found)];
    const length = Math.max(declared.length, found.length);
    return Array.from({ length }, (_, index) =>
      differencesOf(declared[index], found[index], `${path}[${index}]`),
    ).flat();
  }
  if (isRecord(declared)) {
    if (!isRecord(found)) return [said(path, declared, found)];
    return Object.entries(declared).flatMap(([key, value]) =>
      differencesOf(value, found[key], path === "" ? key : `${path}.${key}`),
    );
  }
  return declared === found || (declared === undefined && found === null)
    ? []
    : [said(path, declared, found)];
}

function said(path: string, declared: unknown, found: unknown): string {
  return `${path} is ${shown(found)}, declared is ${shown(declared)}`;
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  const text = JSON.stringify(value);
  return text.length <= 120 ? text : `${text.slice(0, 117)}…`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
