/** Names of a body, such as "rules[].ratelimit.period": its shape, without what stands in it. */
export function namesOf(value: unknown, path = ""): string[] {
  if (Array.isArray(value)) {
    return [...new Set(value.flatMap((item: unknown) => namesOf(item, `${path}[]`)))];
  }
  if (typeof value !== "object" || value === null) return [path];
  const names = Object.entries(value).flatMap(([key, item]) =>
    namesOf(item, path === "" ? key : `${path}.${key}`),
  );
  return names.length === 0 ? [path] : names;
}
