/**
 * The pattern of every `ctm` command.
 *
 * A command is a folder (or one file) that exports `command = defineCommand({ … })`:
 *
 *   export const command = defineCommand({
 *     help: "What it does and when to use it, for somebody on call.",
 *     examples: [{ run: "ctm logs api --lines 50", does: "the last 50 lines of the API's log" }],
 *     arguments: { service: optional("SERVICE", "whose log", anyText) },   // positional, in order
 *     flags: { lines: defaulted("N", "how many lines", "100", wholeNumber(1, 100_000)) },
 *     document: z.strictObject({ … }),          // what `run` returns and what --json prints
 *     async run({ service, lines }, context) { … return document; },
 *     render: (document, paint) => "text for people",
 *   });
 *
 * and one line in `commands.ts` registers it: name, one-line summary, lazy import. `rateLimitHour`
 * is typed as `--rate-limit-hour`. `--json`, `--stack` and `--help` come by themselves; `--yes`
 * where `destructive` is set, and then `run` calls `context.confirm(plan)` before it acts.
 *
 * `run` neither prints nor exits: it returns data, says where it is by `context.progress`, and
 * throws CtmError. Wrong usage that only `run` can see is a CtmError with exitCode 2. Fields are
 * snake_case; unknown is null, never missing; times ISO 8601 UTC, sizes bytes, durations ms.
 */
import type { z } from "zod";
import { CtmError } from "#system";
import type { Guest } from "./interrupts.ts";
import type { Paint } from "./paint.ts";
import { Unreadable, type Parameters, type Values } from "./parameters.ts";
import type { Progress } from "./progress.ts";

/** What a command knows of where it was started. */
export interface Context {
  /** The stack's name: `--stack`, else CTM_STACK, else `local`. Not yet checked. */
  readonly stack: string;
  readonly env: NodeJS.ProcessEnv;
  /** The caller wants one JSON document on stdout. */
  readonly json: boolean;
  readonly progress: Progress;
  /** Aborted by SIGINT or SIGTERM: pass it to whatever takes long. */
  readonly signal: AbortSignal;
  /** Standard input, output and error are all a terminal: a program may take them over. */
  readonly interactive: boolean;
  /** Leaves the terminal to a program (psql, tail) until it ends; returns its exit code. */
  handOver(guest: Guest): Promise<number>;
  /**
   * Runs what must not be left in its middle: a signal is not its end, however long it takes. It sees
   * `signal` and finds its own way out, and its error says how things stand then.
   */
  undisturbed<T>(work: () => Promise<T>): Promise<T>;
  /**
   * Shows what will happen and asks; returns when the answer is yes or `--yes` was given.
   *
   * @throws CtmError `confirmation-needed` without a terminal, `not-confirmed`; both exit 2
   */
  confirm(plan: string): Promise<void>;
}

interface Example {
  run: string;
  does: string;
}

export interface Definition<F extends Parameters, A extends Parameters, Document> {
  /** A paragraph for `--help`. */
  help: string;
  examples: readonly [Example, ...Example[]];
  flags: F;
  /** Positional arguments in order; only the last may be repeatable. */
  arguments: A;
  /** Adds `--yes`; `run` must call `context.confirm`. */
  destructive?: boolean;
  /** Shape of the JSON document, shown in `--help`. */
  document: z.ZodType<Document>;
  run(input: Values<F> & Values<A>, context: Context): Promise<Document>;
  /** Text for people, without the last line end; empty prints nothing. */
  render(document: Document, paint: Paint, input: Values<F> & Values<A>): string;
  /** Exit code that follows from the answer: 3 where a check found a problem. Default 0. */
  exitCode?(document: Document): number;
}

/** A command whose types are closed over: what the dispatcher handles. */
export interface Command {
  readonly help: string;
  readonly examples: readonly Example[];
  readonly flags: Parameters;
  readonly arguments: Parameters;
  readonly destructive: boolean;
  readonly document: z.ZodType;
  /** @throws CtmError `bad-usage` naming every unreadable parameter, and whatever `run` throws */
  execute(given: Given, context: Context): Promise<Outcome>;
}

/** The texts given on the command line, by parameter name. */
export interface Given {
  flags: Readonly<Record<string, readonly string[]>>;
  arguments: Readonly<Record<string, readonly string[]>>;
}

export interface Outcome {
  document: unknown;
  exitCode: number;
  render(paint: Paint): string;
}

export function defineCommand<F extends Parameters, A extends Parameters, Document>(
  definition: Definition<F, A, Document>,
): Command {
  return {
    help: definition.help,
    examples: definition.examples,
    flags: definition.flags,
    arguments: definition.arguments,
    destructive: definition.destructive ?? false,
    document: definition.document,
    async execute(given, context) {
      const problems: string[] = [];
      const values = {
        ...readAll(definition.flags, given.flags, (name) => flagName(name), problems),
        ...readAll(definition.arguments, given.arguments, (_, shown) => shown, problems),
      };
      if (problems.length > 0) throw badUsage(problems.join("; "));
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each key was read by its own reader just above
      const input = values as Values<F> & Values<A>;
      const document = await definition.run(input, context);
      return {
        document,
        exitCode: definition.exitCode?.(document) ?? 0,
        render: (paint) => definition.render(document, paint, input),
      };
    },
  };
}

/** `rateLimitHour` as it is typed: `--rate-limit-hour`. */
export function flagName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** An error of usage; the dispatcher adds which command's help to read. */
export function badUsage(what: string): CtmError {
  return new CtmError("bad-usage", what, { exitCode: 2 });
}

function readAll(
  parameters: Parameters,
  given: Readonly<Record<string, readonly string[]>>,
  shownName: (name: string, placeholder: string) => string,
  problems: string[],
): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [name, parameter] of Object.entries(parameters)) {
    const texts = given[name] ?? [];
    const shown = shownName(name, parameter.placeholder ?? name);
    if (texts.length > 1 && !parameter.repeatable) {
      problems.push(`${shown} is given ${texts.length} times`);
      continue;
    }
    try {
      values[name] = parameter.read(texts);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      problems.push(`${shown} ${error.message}`);
    }
  }
  return values;
}
