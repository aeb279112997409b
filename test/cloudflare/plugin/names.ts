/** How a resource type's names become those of the API. */
export interface Naming {
  /** "snake": appLauncherVisible is app_launcher_visible; "same": as it is. */
  style: "snake" | "same";
  /** Names that follow no style: includes is include. */
  renamed: Readonly<Record<string, string>>;
}

/** Inputs as the API takes them. */
export function toApi(value: unknown, naming: Naming): unknown {
  if (Array.isArray(value)) return value.map((item) => toApi(item, naming));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [apiName(key, naming), toApi(item, naming)]),
  );
}

export function apiName(key: string, { style, renamed }: Naming): string {
  const name = renamed[key];
  if (name !== undefined) return name;
  return style === "same" ? key : key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/**
 * An answer in the shape of what the state holds: names that the program never set are left out, as
 * the official provider keeps them out of its comparison.
 */
export function likeState(state: unknown, answer: unknown, naming: Naming): unknown {
  if (Array.isArray(state) && Array.isArray(answer)) {
    return answer.map((item, index) => likeState(state[index] ?? state[0], item, naming));
  }
  if (typeof state !== "object" || state === null) return answer;
  if (typeof answer !== "object" || answer === null) return answer;
  return Object.fromEntries(
    Object.entries(state).flatMap(([key, item]) => {
      const found: unknown = Reflect.get(answer, apiName(key, naming));
      return found === undefined ? [] : [[key, likeState(item, found, naming)]];
    }),
  );
}

/** Leaves of `wanted` that `state` lacks or has otherwise; undefined when there are none. */
export function changedLeaves(state: unknown, wanted: unknown): unknown {
  if (isRecord(state) && isRecord(wanted)) {
    const changed = Object.entries(wanted).flatMap(([key, item]) => {
      const leaf = changedLeaves(state[key], item);
      return leaf === undefined ? [] : [[key, leaf] as const];
    });
    return changed.length === 0 ? undefined : Object.fromEntries(changed);
  }
  return JSON.stringify(state) === JSON.stringify(wanted) ? undefined : wanted;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
