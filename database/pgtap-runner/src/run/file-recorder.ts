import type { ScriptError, Statement } from "../psql/statement.ts";
import {
  type Assertion,
  type FileResult,
  type OutputLine,
  type Problem,
  keptFailures,
} from "../results.ts";
import type { ServerMessage } from "../server/session.ts";
import { TapParser, isFailure } from "../tap/tap-parser.ts";
import { OutputLog } from "./output-log.ts";

export interface RecorderListener {
  onAssertion(assertion: Assertion): void;
  onOutput(line: OutputLine): void;
  onBailOut(reason: string): void;
}

/** Gathers what one test file says, and gives the verdict. */
export class FileRecorder {
  readonly #path: string;
  readonly #listener: RecorderListener;
  readonly #tap: TapParser;
  readonly #log = new OutputLog();
  readonly #failures: Assertion[] = [];
  readonly #unexpectedlyPassed: Assertion[] = [];
  readonly #problems: Problem[] = [];
  readonly #startedAt = performance.now();
  #partial = "";
  #statement: Statement | undefined;

  constructor(path: string, listener: RecorderListener) {
    this.#path = path;
    this.#listener = listener;
    this.#tap = new TapParser({
      onAssertion: (assertion) => this.#assertion(assertion),
      onOther: (text) => this.output({ kind: "output", text, location: this.#statement?.location }),
      onBailOut: (reason) => this.#listener.onBailOut(reason),
    });
  }

  /** Tests seen so far. */
  get tests(): number {
    return this.#tap.tests;
  }

  /** Standard output, in pieces of any size. */
  text(text: string, statement: Statement | undefined): void {
    this.#statement = statement;
    let start = 0;
    for (;;) {
      const newline = text.indexOf("\n", start);
      if (newline === -1) break;
      this.#tap.line(this.#partial + text.slice(start, newline), statement);
      this.#partial = "";
      start = newline + 1;
    }
    this.#partial += text.slice(start);
  }

  output(line: OutputLine): void {
    this.#log.add(line);
    this.#listener.onOutput(line);
  }

  problem(problem: Problem): void {
    this.#problems.push(problem);
  }

  /** The file was stopped, by the server or by psql's own rules. */
  scriptError(error: ScriptError): void {
    const { server, statement } = error;
    this.problem({
      code: server === undefined ? "psql-error" : "sql-error",
      message: server === undefined ? error.message : `${server.code}: ${error.message}`,
      location: error.location,
      sql: statement?.sql,
      next: server === undefined ? undefined : adviceFor(server),
      detail: [
        ...(server?.detail === undefined ? [] : [`DETAIL: ${server.detail}`]),
        ...(server?.hint === undefined ? [] : [`HINT: ${server.hint}`]),
        ...(server?.where === undefined ? [] : [`CONTEXT: ${server.where}`]),
      ],
    });
  }

  /**
   * The verdict. A file that was cut short is judged by what cut it short: that its plan was not
   * met then says nothing more.
   */
  finish(options: {
    interpreter: FileResult["interpreter"];
    cutShort: boolean;
    keepOutput: boolean;
  }): FileResult {
    if (this.#partial !== "") this.text("\n", this.#statement);
    const tap = this.#tap.end();
    const problems = options.cutShort
      ? [...this.#problems, ...tap.problems.filter((problem) => !consequences.has(problem.code))]
      : [...this.#problems, ...tap.problems];
    const failed = tap.counts.failed > 0 || problems.length > 0;
    const skipped = !failed && tap.skipAll !== undefined;
    return {
      path: this.#path,
      status: failed ? "failed" : skipped ? "skipped" : "passed",
      reason: skipped ? tap.skipAll : undefined,
      planned: tap.planned,
      counts: tap.counts,
      failures: this.#failures,
      unexpectedlyPassed: this.#unexpectedlyPassed,
      problems,
      output: failed || options.keepOutput ? this.#log.lines : [],
      outputOmitted: failed || options.keepOutput ? this.#log.omitted : 0,
      durationMs: performance.now() - this.#startedAt,
      interpreter: options.interpreter,
    };
  }

  #assertion(assertion: Assertion): void {
    this.#listener.onAssertion(assertion);
    if (isFailure(assertion)) {
      if (this.#failures.length < keptFailures) this.#failures.push(assertion);
    } else if (assertion.passed && assertion.directive?.kind === "todo") {
      if (this.#unexpectedlyPassed.length < keptFailures) this.#unexpectedlyPassed.push(assertion);
    }
  }
}

/** What to do about an error that people new to pgTAP meet first. */
function adviceFor(server: ServerMessage): string | undefined {
  if (server.code === "42883" && /function (no_)?plan\(/.test(server.message)) {
    return "CREATE EXTENSION pgtap, or load pgTAP with --pgtap PATH";
  }
  // An included file may do what only the owner of the counters may, see needsOwnCounters().
  const counters = server.code === "42501" && /__t(cache|results)__/.test(server.message);
  return counters ? "leave pgTAP's counters to plan(): --stock-pgtap" : undefined;
}

const consequences: ReadonlySet<Problem["code"]> = new Set([
  "no-plan",
  "no-tests",
  "plan-mismatch",
]);

/** The result of a file that was never started, or not finished. */
export function notRun(path: string, reason: string): FileResult {
  return {
    path,
    status: "not-run",
    reason,
    planned: undefined,
    counts: { passed: 0, failed: 0, skipped: 0, todo: 0 },
    failures: [],
    unexpectedlyPassed: [],
    problems: [],
    output: [],
    outputOmitted: 0,
    durationMs: 0,
    interpreter: "native",
  };
}
