/**
 * Flags and positional arguments of a command: each says what it is called in the help, what it
 * means, and how its text becomes a value. The type of the value follows from the reader.
 */
import { normalize } from "node:path";

/** Turns what a person typed into a value. @throws Unreadable with the reason, for people */
export type Reader<T> = (text: string) => T;

export interface Parameter<T> {
  /** `PLACEHOLDER` in the help; undefined for a switch, which takes no value. */
  readonly placeholder: string | undefined;
  /** One line, in the help. */
  readonly help: string;
  readonly required: boolean;
  readonly repeatable: boolean;
  /** Everything given for it, in order; a switch that was given is `["true"]`. */
  readonly read: (texts: readonly string[]) => T;
}

export type Parameters = Readonly<Record<string, Parameter<unknown>>>;

/** The values of a command's parameters, by name. */
export type Values<P extends Parameters> = {
  readonly [Name in keyof P]: P[Name] extends Parameter<infer T> ? T : never;
};

/** Why a text cannot be read as what it should be; the framework adds which parameter it was. */
export class Unreadable extends Error {}

/** `--name`: on or off. */
export function toggle(help: string): Parameter<boolean> {
  return {
    placeholder: undefined,
    help,
    required: false,
    repeatable: false,
    read: (texts) => texts.length > 0,
  };
}

/** `--name VALUE` or a positional VALUE that may be left out. */
export function optional<T>(
  placeholder: string,
  help: string,
  reader: Reader<T>,
): Parameter<T | undefined> {
  return {
    placeholder,
    help,
    required: false,
    repeatable: false,
    read: ([text]) => (text === undefined ? undefined : reader(text)),
  };
}

/** As `optional`, with the text that stands where none is given. */
export function defaulted<T>(
  placeholder: string,
  help: string,
  fallback: string,
  reader: Reader<T>,
): Parameter<T> {
  return {
    placeholder,
    help: `${help} (default ${fallback})`,
    required: false,
    repeatable: false,
    read: ([text]) => reader(text ?? fallback),
  };
}

export function required<T>(placeholder: string, help: string, reader: Reader<T>): Parameter<T> {
  return {
    placeholder,
    help,
    required: true,
    repeatable: false,
    read: ([text]) => {
      if (text === undefined) throw new Unreadable("is missing");
      return reader(text);
    },
  };
}

/** A flag that may be given several times, or the rest of the positional arguments. */
export function repeated<T>(
  placeholder: string,
  help: string,
  reader: Reader<T>,
  options: { required?: boolean } = {},
): Parameter<readonly T[]> {
  return {
    placeholder,
    help,
    required: options.required ?? false,
    repeatable: true,
    read: (texts) => {
      if (options.required === true && texts.length === 0) throw new Unreadable("is missing");
      return texts.map((text) => reader(text));
    },
  };
}

/** Any text at all. */
export const anyText: Reader<string> = (text) => text;

/** A path that means the same wherever one stands. */
export const absolutePath: Reader<string> = (given) => {
  if (!given.startsWith("/")) throw new Unreadable(`"${given}" is not an absolute path`);
  return normalize(given).replace(/(?<=.)\/$/, "");
};

/** Text that says something, up to a length in characters. */
export function textUpTo(longest: number): Reader<string> {
  return (given) => {
    if (given.trim() === "") throw new Unreadable("is empty");
    if (given.length > longest) {
      throw new Unreadable(`has ${given.length} characters, ${longest} at most`);
    }
    return given;
  };
}

/** One of a list of words. */
export function oneOf<const T extends string>(...words: readonly T[]): Reader<T> {
  return (given) => {
    const found = words.find((word) => word === given);
    if (found === undefined) throw new Unreadable(`"${given}" is not one of ${words.join(", ")}`);
    return found;
  };
}

/** A whole number between two, both included, in decimal digits. */
export function wholeNumber(least: number, most: number): Reader<number> {
  return (given) => {
    const value = /^\d+$/.test(given) ? Number(given) : Number.NaN;
    if (!(value >= least && value <= most)) {
      throw new Unreadable(`"${given}" is not a whole number from ${least} to ${most}`);
    }
    return value;
  };
}
