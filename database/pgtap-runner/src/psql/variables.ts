/** A backslash command that cannot be carried out; psql counts it as an error of the script. */
export class MetaCommandError extends Error {}

/** psql's reading of a Boolean: any prefix of true, false, yes, no; on, off; 1, 0. */
export function parseBoolean(text: string): boolean | undefined {
  const word = text.toLowerCase();
  if (word === "") return undefined;
  if ("true".startsWith(word) || "yes".startsWith(word) || word === "on" || word === "1") {
    return true;
  }
  if ("false".startsWith(word) || "no".startsWith(word) || word === "0") return false;
  // "o" alone may be both.
  return word.length >= 2 && "off".startsWith(word) ? false : undefined;
}

/** Variables that psql reads as Booleans: it refuses other values, and unsetting means off. */
const booleanVariables: ReadonlySet<string> = new Set([
  "AUTOCOMMIT",
  "ON_ERROR_STOP",
  "QUIET",
  "SINGLELINE",
  "SINGLESTEP",
  "HIDE_TABLEAM",
  "HIDE_TOAST_COMPRESSION",
  "SHOW_ALL_RESULTS",
]);

/** What unsetting one of psql's other special variables leaves behind. */
const defaultValues: Readonly<Record<string, string>> = {
  ECHO: "none",
  ECHO_HIDDEN: "off",
  ON_ERROR_ROLLBACK: "off",
  COMP_KEYWORD_CASE: "preserve-upper",
  HISTCONTROL: "none",
  VERBOSITY: "default",
  SHOW_CONTEXT: "errors",
  FETCH_COUNT: "0",
  HISTSIZE: "500",
  IGNOREEOF: "0",
};

const namePattern = /^[A-Za-z0-9_\u0080-\uffff]+$/;

/** The variables of one script, with the rules of those that psql itself reads. */
export class Variables {
  readonly #values = new Map<string, string>();

  constructor(initial: Readonly<Record<string, string>>) {
    for (const name of booleanVariables) this.#values.set(name, "off");
    for (const [name, value] of Object.entries(defaultValues)) this.#values.set(name, value);
    this.#values.set("AUTOCOMMIT", "on");
    this.#values.set("SHOW_ALL_RESULTS", "on");
    for (const [name, value] of Object.entries(initial)) this.set(name, value);
  }

  get(name: string): string | undefined {
    return this.#values.get(name);
  }

  isOn(name: string): boolean {
    return parseBoolean(this.#values.get(name) ?? "") ?? false;
  }

  /** psql treats it in a special way, so `\gset` leaves it alone. */
  isSpecial(name: string): boolean {
    return booleanVariables.has(name) || Object.hasOwn(defaultValues, name);
  }

  /** @throws MetaCommandError for a bad name, or a value that psql would refuse */
  set(name: string, value: string): void {
    if (!namePattern.test(name)) throw new MetaCommandError(`invalid variable name: "${name}"`);
    let kept = value;
    if (booleanVariables.has(name) || name === "ON_ERROR_ROLLBACK" || name === "ECHO_HIDDEN") {
      if (kept === "") kept = "on";
      const other = name === "ON_ERROR_ROLLBACK" ? "interactive" : "noexec";
      const allowed = !booleanVariables.has(name) && kept.toLowerCase() === other;
      if (!allowed && parseBoolean(kept) === undefined) {
        throw new MetaCommandError(`unrecognized value "${kept}" for "${name}": Boolean expected`);
      }
    } else if (name === "ECHO") {
      if (!/^(all|queries|errors|none)$/i.test(kept)) {
        throw new MetaCommandError(
          `unrecognized value "${kept}" for "ECHO"\nAvailable values are: none, errors, queries, all.`,
        );
      }
    }
    this.#values.set(name, kept);
  }

  /** @throws MetaCommandError for a bad name */
  unset(name: string): void {
    if (!namePattern.test(name)) throw new MetaCommandError(`invalid variable name: "${name}"`);
    if (booleanVariables.has(name)) this.#values.set(name, "off");
    else if (Object.hasOwn(defaultValues, name)) this.#values.set(name, defaultValues[name] ?? "");
    else this.#values.delete(name);
  }
}
