import type { Readable, Writable } from "node:stream";
import type { Command as Parser } from "commander";
import { CtmError } from "#system";
import type { Command, Context, Given, Outcome } from "./command.ts";
import { commands as everyCommand, type Entry } from "./commands.ts";
import { confirm } from "./confirm.ts";
import type { Interrupts } from "./interrupts.ts";
import { nameStack, nameStackInDocument, nameStackInText } from "./name-stack.ts";
import { nearest } from "./nearest.ts";
import { createPaint } from "./paint.ts";
import { createProgress } from "./progress.ts";

/** Where a command line comes from and where its answer goes. */
export interface Surroundings {
  input: Readable & { isTTY?: boolean };
  output: Writable & { isTTY?: boolean; columns?: number };
  error: Writable & { isTTY?: boolean; columns?: number };
  env: NodeJS.ProcessEnv;
  interrupts: Interrupts;
}

/** Exit code of an interrupted command: what a shell reports for SIGINT. */
const interruptedCode = 130;
/** How long an interrupted command may take to end its subprocesses and clean up. */
const cleanUpMs = 5_000;

/**
 * Runs one command line and writes its answer. Never throws and never exits.
 *
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage or refused, 3 a check found a problem
 */
export async function dispatch(
  argv: readonly string[],
  around: Surroundings,
  entries: readonly Entry[] = everyCommand,
): Promise<number> {
  // Known before anything is parsed, because an error of parsing must keep to it too.
  const own = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  const json = own.includes("--json");
  const named = namedStack(own, around.env);
  const progress = createProgress(around.error);
  try {
    const answer = await answerTo(argv, json, around, progress, entries);
    progress.end();
    if (json) {
      const document =
        named === undefined ? answer.document : nameStackInDocument(answer.document, named);
      const indent = around.output.isTTY === true ? 2 : 0;
      await write(around.output, `${JSON.stringify(document, null, indent)}\n`);
    } else {
      const text = answer.render(createPaint(around.output, around.env));
      const shown = named === undefined ? text : nameStackInText(text, named);
      await write(around.output, withLineEnd(shown));
    }
    return answer.exitCode;
  } catch (error) {
    progress.end();
    return await writeError(error, { json, named }, around);
  }
}

/** The stack that only this command line names: what is proposed next has to name it again. */
function namedStack(own: readonly string[], env: NodeJS.ProcessEnv): string | undefined {
  const index = own.lastIndexOf("--stack");
  const name =
    index === -1
      ? own.findLast((token) => token.startsWith("--stack="))?.slice("--stack=".length)
      : own[index + 1];
  return name === defaultStack(env) ? undefined : name;
}

function defaultStack(env: NodeJS.ProcessEnv): string {
  const name = env["CTM_STACK"] ?? "";
  return name === "" ? "local" : name;
}

async function answerTo(
  argv: readonly string[],
  json: boolean,
  around: Surroundings,
  progress: Context["progress"],
  entries: readonly Entry[],
): Promise<Outcome> {
  const { words, rest } = splitWords(argv, entries);
  const name = words.join(" ");
  const entry = entries.find((each) => each.name === name);
  if (entry === undefined) return await withoutCommand(name, rest, entries);

  const [{ createParser, commandHelp }, { command }] = await Promise.all([
    import("./command-help.ts"),
    entry.load(),
  ]);
  const parser = createParser(entry.name, command);
  if (asksForHelp(rest)) return textAnswer("help", commandHelp(parser, command));
  try {
    const given = readGiven(parser, command, rest);
    const signal = around.interrupts.signal;
    const undisturbed: Undisturbed = { running: new Set(), any: false };
    const context: Context = {
      stack: given.flags["stack"]?.at(-1) ?? defaultStack(around.env),
      env: around.env,
      json,
      progress,
      signal,
      interactive:
        around.input.isTTY === true && around.output.isTTY === true && around.error.isTTY === true,
      confirm: async (plan) => {
        progress.clear();
        await confirm({
          plan,
          yes: given.flags["yes"] !== undefined,
          input: around.input,
          output: around.error,
          signal,
        });
      },
      handOver: async (guest) => {
        progress.clear();
        return await around.interrupts.handOver(guest);
      },
      undisturbed: async (work) => {
        undisturbed.any = true;
        const running = work();
        undisturbed.running.add(running);
        return await running.finally(() => undisturbed.running.delete(running));
      },
    };
    return await untilInterrupted(command.execute(given, context), signal, undisturbed);
  } catch (error) {
    if (error instanceof CtmError && error.code === "bad-usage" && error.next === undefined) {
      throw new CtmError(error.code, error.message, { next: `ctm ${name} --help`, exitCode: 2 });
    }
    throw error;
  }
}

/** The leading words that name a command, and everything else; `--stack X` may stand before them. */
function splitWords(
  argv: readonly string[],
  entries: readonly Entry[],
): { words: string[]; rest: string[] } {
  const words: string[] = [];
  const rest: string[] = [];
  // `ctm help backup list` is `ctm backup list --help`.
  const tokens = argv[0] === "help" ? [...argv.slice(1), "--help"] : argv;
  let index = 0;
  for (; index < tokens.length; index++) {
    const token = tokens[index] ?? "";
    if (token === "--") break;
    if (token === "--stack") {
      rest.push(token, ...tokens.slice(index + 1, index + 2));
      index++;
    } else if (token.startsWith("-")) {
      rest.push(token);
    } else {
      const longer = [...words, token].join(" ");
      if (!entries.some(({ name }) => `${name} `.startsWith(`${longer} `))) break;
      words.push(token);
    }
  }
  return { words, rest: [...rest, ...tokens.slice(index)] };
}

/** What is answered where no command is named: help, the version, or what is wrong. */
async function withoutCommand(
  group: string,
  rest: readonly string[],
  entries: readonly Entry[],
): Promise<Outcome> {
  const unknown = rest.find(
    (token, index) => !token.startsWith("-") && rest[index - 1] !== "--stack",
  );
  if (unknown !== undefined) {
    const typed = group === "" ? unknown : `${group} ${unknown}`;
    const near = nearest(
      typed,
      entries.map(({ name }) => name),
    );
    throw new CtmError("unknown-command", `there is no command "${typed}"`, {
      next: near === undefined ? `ctm ${group === "" ? "" : `${group} `}--help` : `ctm ${near}`,
      exitCode: 2,
    });
  }
  if (asksForHelp(rest)) {
    const { listHelp } = await import("./list-help.ts");
    return textAnswer("help", listHelp(entries, group));
  }
  if (rest.includes("--version")) {
    const { default: manifest } = await import("../package.json", { with: { type: "json" } });
    return textAnswer("version", manifest.version);
  }
  throw new CtmError(
    "no-command",
    group === "" ? "no command is given" : `"${group}" needs one more word`,
    { next: `ctm ${group === "" ? "" : `${group} `}--help`, exitCode: 2 },
  );
}

function asksForHelp(rest: readonly string[]): boolean {
  const own = rest.includes("--") ? rest.slice(0, rest.indexOf("--")) : rest;
  return own.includes("--help") || own.includes("-h");
}

function textAnswer(field: string, text: string): Outcome {
  return { document: { [field]: text }, exitCode: 0, render: () => text };
}

/** @throws CtmError `bad-usage` for an unknown flag, a flag without its value, one argument too many */
function readGiven(parser: Parser, command: Command, rest: readonly string[]): Given {
  try {
    parser.parse(rest, { from: "user" });
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error)) throw error;
    // Commander's text, less its own prefix and line break before a suggestion.
    const what = error.message.replace(/^error: /, "").replaceAll("\n", " ");
    throw new CtmError("bad-usage", what, { exitCode: 2, cause: error });
  }
  const flags = parser.opts<Record<string, string[]>>();
  const positional: Record<string, string[]> = {};
  const left = [...parser.args];
  for (const [name, parameter] of Object.entries(command.arguments)) {
    positional[name] = parameter.repeatable ? left.splice(0) : left.splice(0, 1);
  }
  const [excess] = left;
  if (excess !== undefined) {
    throw new CtmError("bad-usage", `"${excess}" is one argument too many`, { exitCode: 2 });
  }
  return { flags, arguments: positional };
}

/** Work of a command that a signal may not leave in its middle. */
interface Undisturbed {
  running: Set<Promise<unknown>>;
  /** There was some: the command's own error then says what became of it. */
  any: boolean;
}

/**
 * The work's result, or, once the person interrupts, `interrupted` as soon as the work has ended:
 * it sees the same signal and ends its subprocesses; one that does not end is left behind, but not
 * what is undisturbed.
 */
async function untilInterrupted<T>(
  work: Promise<T>,
  signal: AbortSignal,
  undisturbed: Undisturbed,
): Promise<T> {
  const interrupted = new Promise<never>((_, reject) => {
    const stop = (): void => {
      const error = new CtmError("interrupted", "stopped by a signal before it was done");
      let patience: NodeJS.Timeout | undefined;
      const wait = (): void => {
        patience = setTimeout(() => {
          if (undisturbed.running.size === 0) reject(error);
          else void Promise.allSettled(undisturbed.running).then(wait);
        }, cleanUpMs);
      };
      wait();
      void work
        .catch(() => undefined)
        .finally(() => {
          clearTimeout(patience);
          if (!undisturbed.any) reject(error);
        });
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
  return await Promise.race([
    work.then(
      (value) => value,
      // A subprocess that the signal ended looks like a failure of its own.
      async (error: unknown) => {
        if (!signal.aborted || undisturbed.any) throw error;
        return await interrupted;
      },
    ),
    interrupted,
  ]);
}

async function writeError(
  error: unknown,
  { json, named }: { json: boolean; named: string | undefined },
  around: Surroundings,
): Promise<number> {
  const known = error instanceof CtmError;
  const code = known ? error.code : "internal-error";
  const message = error instanceof Error ? error.message : String(error);
  const proposed = known ? (error.next ?? null) : null;
  const next = proposed === null || named === undefined ? proposed : nameStack(proposed, named);
  if (json) await write(around.output, `${JSON.stringify({ error: { code, message, next } })}\n`);
  const paint = createPaint(around.error, around.env);
  if (!known) {
    // A defect of ours: its place matters more than its looks.
    const stack = error instanceof Error ? (error.stack ?? message) : message;
    await write(around.error, `${paint.bad("internal-error")}: ${stack}\n`);
  } else if (!json) {
    const step = next === null ? "" : `${paint.bold("next:")} ${next}\n`;
    await write(around.error, `${paint.bad(code)}: ${message}\n${step}`);
  }
  if (code === "interrupted") return interruptedCode;
  return known ? error.exitCode : 1;
}

function withLineEnd(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

/** Writes all of it; a reader that went away (`ctm … | head`) is no failure. */
async function write(stream: Writable, text: string): Promise<void> {
  if (text === "") return;
  await new Promise<void>((resolve) => {
    stream.write(text, () => resolve());
  });
}
