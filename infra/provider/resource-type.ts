import type { z } from "zod";

/** Any value that Pulumi carries, secrets already unwrapped. */
export type Properties = Record<string, unknown>;

/**
 * One resource type of the `ctm` provider. Its inputs describe what shall be, its outputs what is:
 * outputs repeat every input as it was really found, and may add what only exists afterwards.
 * The diff is then the same for all types: it compares outputs with inputs, leaf by leaf.
 */
export interface ResourceType<Inputs extends object, Outputs extends Inputs> {
  /** `ctm:module:Name`. */
  token: string;
  /** Tokens that stacks made by an older version have in their state; the program names them as aliases. */
  formerTokens?: readonly string[];
  /** Checked before anything is planned; each issue is reported with its property. */
  inputs: z.ZodType<Inputs>;
  /** Properties that are never shown and are encrypted in the state. */
  secrets: readonly (keyof Outputs & string)[];
  /** Inputs whose change makes a new resource (after deleting the old one). */
  replacedBy: readonly (keyof Inputs & string)[];
  /** Inputs that say how to reach the resource; a change of one alone is taken over silently. */
  ignoredInDiff?: readonly (keyof Inputs & string)[];
  /**
   * Why it may not be made, with the property that says so: asked before anything is planned, and
   * never of what the state has already.
   */
  refuse?(inputs: Inputs): Promise<{ property: keyof Inputs & string; reason: string } | undefined>;
  /**
   * Makes the resource, or finishes one that a killed run left half made.
   * Returns only when its effect was checked.
   */
  create(inputs: Inputs, context: Context): Promise<{ id: string; outputs: Outputs }>;
  /** What is really there, or undefined when it is gone. Never echoes the state it is given. */
  read(id: string, state: Outputs): Promise<Outputs | undefined>;
  update(id: string, state: Outputs, inputs: Inputs, context: Context): Promise<Outputs>;
  /**
   * What an update is going to leave, for a preview; changes nothing. Without it, the state with the
   * new inputs: enough where an update changes no output that others build on.
   */
  foresee?(state: Outputs, inputs: Inputs): Promise<Outputs>;
  /** Succeeds when the resource is gone already. */
  delete(id: string, state: Outputs, context: Context): Promise<void>;
}

/** A type as the server dispatches it; `defineResourceType` is the only way to make one. */
export type AnyResourceType = ResourceType<Properties, Properties>;

export interface Context {
  /** Shown to the person at the terminal while the operation runs. */
  report: (line: string) => void;
}

/**
 * Forgets the inputs' type, so that types of all shapes fit one table. Sound because the server
 * hands over only inputs that passed `inputs`, and state that this type's functions returned.
 */
export function defineResourceType<Inputs extends object, Outputs extends Inputs>(
  type: ResourceType<Inputs, Outputs>,
): AnyResourceType {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  return type as unknown as AnyResourceType;
}

/** Stands for a value that a preview cannot know yet. From Pulumi's protocol. */
export const unknownValue = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** One leaf that differs, as a Pulumi property path. */
export interface Difference {
  path: string;
  kind: "add" | "delete" | "update";
}

/** Leaf by leaf, what must change to turn `found` into `wanted`. */
export function differences(found: unknown, wanted: unknown, path = ""): Difference[] {
  if (isRecord(found) && isRecord(wanted)) {
    const keys = new Set([...Object.keys(found), ...Object.keys(wanted)]);
    return [...keys].flatMap((key) => differences(found[key], wanted[key], join(path, key)));
  }
  if (Array.isArray(found) && Array.isArray(wanted)) {
    const length = Math.max(found.length, wanted.length);
    return Array.from({ length }, (_, index) =>
      differences(found[index], wanted[index], join(path, index)),
    ).flat();
  }
  if (isAbsent(found) && isAbsent(wanted)) return [];
  if (isAbsent(found)) return [{ path, kind: "add" }];
  if (isAbsent(wanted)) return [{ path, kind: "delete" }];
  return found === wanted ? [] : [{ path, kind: "update" }];
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

/** Keys and indexes as a Pulumi property path, such as `files["/etc/x"].mode` or `names[1]`. */
export function propertyPath(keys: readonly PropertyKey[]): string {
  return keys.reduce<string>(
    (path, key) => join(path, typeof key === "number" ? key : String(key)),
    "",
  );
}

function join(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}[${key}]`;
  if (!/^[A-Za-z_$][\w$]*$/.test(key)) return `${path}["${key.replaceAll('"', '\\"')}"]`;
  return path === "" ? key : `${path}.${key}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
