import { RunnerError } from "../errors.ts";

/** What can be tried on tables and views, and on functions. */
export const commands = ["select", "insert", "update", "delete", "truncate", "execute"] as const;
export type Command = (typeof commands)[number];

/** Somebody, as the database sees them. */
export interface Actor {
  /** Taken by SET LOCAL ROLE. */
  role: string;
  /** Set by set_config(…, true) before: `app.current_user_id`. */
  settings?: Readonly<Record<string, string>>;
}

/**
 * What an actor gets.
 *
 * - `"denied"`: refused for want of a privilege, or by a policy (SQLSTATE 42501)
 * - `"none"`: let through, but no row is reached
 * - `"all"`: every row
 * - a list: the rows with these labels, and no others
 * - `"allowed"`: for TRUNCATE, and for functions without labelled rows
 * - `"error 22P02"`: another error, by its SQLSTATE
 */
export type Outcome = "denied" | "none" | "all" | "allowed" | `error ${string}` | readonly string[];

/** A table, view, materialised view or function. */
export interface ObjectDeclaration {
  /**
   * The rows that matter, by a label each: a condition that holds for them and that every actor who
   * may read anything can evaluate. Rows that no label covers are called `others`.
   */
  rows?: Readonly<Record<string, string>>;
  /** New rows by a label each: an INSERT statement. Default: one row of default values, `new`. */
  insert?: Readonly<Record<string, string>>;
  /** What UPDATE sets. Default: a column that the actor may change, to the value it has. */
  update?: string;
  /** How a function is called: a SELECT. Default: only the privilege is looked up. */
  call?: string;
  /** Outcome by actor and command. Whoever, and whatever, is not named is denied. */
  expect?: Readonly<Record<string, Readonly<Partial<Record<Command, Outcome>>>>>;
}

/** Who may do what, as it should be. */
export interface AccessDeclaration {
  title?: string;
  /** Schemas of which every table, view and function has to be declared. Default `public`. */
  schemas?: readonly string[];
  /** SQL that makes the rows, run with the rights of the connection. It is rolled back. */
  setup?: string;
  actors: Readonly<Record<string, Actor>>;
  /**
   * Objects by name: `tasks`, `billing.invoices`, `get_statistics` for a function. A name may end
   * in `*` and then stands for all that are not named themselves, be they none; labels of rows that
   * do not exist in one of them are left out there.
   */
  objects: Readonly<Record<string, ObjectDeclaration>>;
}

/** Gives a declaration its type; for TypeScript and editors. */
export function defineAccess(declaration: AccessDeclaration): AccessDeclaration {
  return declaration;
}

/**
 * A declaration from a module or JSON file, checked as far as its own consistency goes.
 *
 * @throws RunnerError `bad-declaration` (exit code 2) with everything that is wrong
 */
export function checkDeclaration(value: unknown): AccessDeclaration {
  if (!isDeclaration(value)) {
    throw new RunnerError("bad-declaration", "it is no object with actors and objects", {
      exitCode: 2,
      next: "export default defineAccess({ actors: {…}, objects: {…} })",
    });
  }
  const faults: string[] = [];
  if (Object.keys(value.actors).length === 0) faults.push("there is no actor");
  for (const [name, object] of Object.entries(value.objects)) {
    const labels = new Set([
      ...Object.keys(object.rows ?? {}),
      ...Object.keys(object.insert ?? { new: "" }),
      "others",
    ]);
    for (const [actor, outcomes] of Object.entries(object.expect ?? {})) {
      if (!Object.hasOwn(value.actors, actor)) {
        faults.push(`objects.${name}.expect names ${actor}, which is no actor`);
      }
      for (const [command, outcome] of Object.entries(outcomes)) {
        if (!commands.some((known) => known === command)) {
          faults.push(`objects.${name}.expect.${actor} names ${command}, which is no command`);
        }
        if (typeof outcome === "string") continue;
        for (const label of outcome) {
          if (labels.has(label)) continue;
          faults.push(
            `objects.${name}.expect.${actor}.${command} names ${label}, which labels no row`,
          );
        }
      }
    }
  }
  if (faults.length > 0) {
    throw new RunnerError("bad-declaration", faults.join("\n"), { exitCode: 2 });
  }
  return value;
}

function isDeclaration(value: unknown): value is AccessDeclaration {
  return (
    typeof value === "object" &&
    value !== null &&
    "actors" in value &&
    typeof value.actors === "object" &&
    value.actors !== null &&
    "objects" in value &&
    typeof value.objects === "object" &&
    value.objects !== null
  );
}
