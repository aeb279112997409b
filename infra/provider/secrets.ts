import type { Properties } from "./resource-type.ts";

/** How Pulumi's protocol marks a wrapped value, and which mark means "secret" or "output". */
const signatureKey = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";
const outputSignature = "d0e6a833031e9bbcd3f4e8bde6ca49a4";

/** Removes Pulumi's wrappers, so that resource types see plain values. */
export function unwrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrap);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.fromEntries(Object.entries(value));
  const signature = entries[signatureKey];
  if (signature === secretSignature || signature === outputSignature) {
    return unwrap(entries["value"]);
  }
  return Object.fromEntries(Object.entries(entries).map(([key, item]) => [key, unwrap(item)]));
}

/** Names of the properties that hold a secret anywhere, as they travel. */
export function secretNames(properties: Properties): string[] {
  return Object.entries(properties).flatMap(([key, value]) => (holdsSecret(value) ? [key] : []));
}

function holdsSecret(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const items = Object.entries(value);
  return items.some(
    ([key, item]) => (key === signatureKey && item === secretSignature) || holdsSecret(item),
  );
}

/** Marks the named properties as secret and drops those without a value. */
export function wrapSecrets(properties: Properties, secrets: readonly string[]): Properties {
  const present = Object.entries(properties).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    present.map(([key, value]) => [
      key,
      secrets.includes(key) ? { [signatureKey]: secretSignature, value } : value,
    ]),
  );
}
