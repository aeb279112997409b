import type { Statement } from "../psql/statement.ts";
import type { Assertion, Counts, Problem } from "../results.ts";

/** What the parser finds, in order. */
export interface TapListener {
  /** A test with all that was said about it. */
  onAssertion(assertion: Assertion): void;
  /** A line that is no TAP. */
  onOther(line: string): void;
  onBailOut(reason: string): void;
}

export interface TapSummary {
  planned: number | undefined;
  /** The plan was `1..0 # SKIP reason`. */
  skipAll: string | undefined;
  counts: Counts;
  problems: Problem[];
}

/** A test whose diagnostics may still follow. */
interface OpenAssertion extends Assertion {
  diagnostics: string[];
  subtests: Assertion[];
}

// The grammar of Perl's TAP::Parser, whose verdict pg_prove gives. It reads bytes: space is ASCII's,
// and only a newline ends a line, whatever else Unicode and JavaScript take for one.
const testPattern = /^(not )?ok\b[ \t\r\f\v]*(\d+)?[ \t\r\f\v]*(.*)$/s;
const directivePattern = /^((?:[^\\#]|\\.)*)#[ \t\r\f\v]*(SKIP|TODO)\b[ \t\r\f\v]*(.*)$/is;
// What follows the number of a plan, other than for nothing, makes it none.
const planPattern = /^1\.\.(?:(0+)(?!\d)(.*)|(\d+)[ \t\r\f\v]*)$/s;
const skipAllPattern = /^[ \t\r\f\v]*#[ \t\r\f\v]*SKIP[^ \t\r\f\v]*[ \t\r\f\v]+(.*)$/is;
const bailOutPattern = /^[ \t\r\f\v]*Bail out![ \t\r\f\v]*(.*)$/s;
const versionPattern = /^TAP[ \t\r\f\v]+version[ \t\r\f\v]+\d+[ \t\r\f\v]*$/i;
const nestedPattern = /^((?: {4})+)(.*)$/s;

/** Most that is kept of what is said about one test. */
const keptDiagnostics = 200;

/**
 * Reads TAP line by line and holds only the test it is at. A line's statement is the one whose
 * result it came in.
 */
export class TapParser {
  readonly #listener: TapListener;
  #planned: number | undefined;
  #planStatement: Statement | undefined;
  #planLast = false;
  #skipAll: string | undefined;
  #tests = 0;
  #counts: Counts = { passed: 0, failed: 0, skipped: 0, todo: 0 };
  #problems: Problem[] = [];
  #reported = new Set<Problem["code"]>();
  #open: OpenAssertion | undefined;
  /** Of the test that was read last, subtests included. */
  #testStatement: Statement | undefined;
  /** Subtests read so far, innermost last; they belong to the test that follows them. */
  #nested: { level: number; assertion: OpenAssertion }[] = [];
  /** Said inside of the test that is to follow, and not about a subtest of it that failed. */
  #nestedDiagnostics: string[] = [];
  /** An exception has ended the subtests: what follows is about it. */
  #died = false;

  constructor(listener: TapListener) {
    this.#listener = listener;
  }

  /** Tests seen so far. */
  get tests(): number {
    return this.#tests;
  }

  /** @returns true when the line is TAP */
  line(text: string, statement: Statement | undefined): boolean {
    const first = text.charCodeAt(0);
    // Most output starts with none of "1", "B", "T", "t", "n", "o", "#" and space.
    if (first === 0x23) {
      this.#comment(text, this.#open, statement);
      return true;
    }
    if (first === 0x6e || first === 0x6f) {
      const match = testPattern.exec(text);
      if (match !== null) {
        this.#test(match, statement);
        return true;
      }
    } else if (first === 0x31) {
      const match = planPattern.exec(text);
      if (match !== null) {
        this.#plan(Number(match[1] ?? match[3]), match[2] ?? "", statement);
        return true;
      }
    } else if (first === 0x42) {
      if (this.#bailOut(text, statement)) return true;
    } else if (first === 0x54 || first === 0x74) {
      if (versionPattern.test(text)) {
        this.#problem(
          "tap-version",
          `"${text.trim()}" asks for another dialect of TAP than pgTAP's, which names no version`,
          statement,
        );
      }
    } else if (first === 0x20 || (first >= 0x09 && first <= 0x0d)) {
      if (this.#bailOut(text, statement)) return true;
      const match = nestedPattern.exec(text);
      if (
        match !== null &&
        this.#nestedLine((match[1] ?? "").length / 4, match[2] ?? "", statement)
      ) {
        return true;
      }
    }
    if (text !== "") this.#listener.onOther(text);
    return false;
  }

  #bailOut(text: string, statement: Statement | undefined): boolean {
    const match = bailOutPattern.exec(text);
    if (match === null) return false;
    this.#flush();
    this.#problem("bail-out", `Bail out! ${match[1] ?? ""}`.trim(), statement);
    this.#listener.onBailOut(match[1] ?? "");
    return true;
  }

  /** The output has ended. */
  end(): TapSummary {
    this.#flush();
    if (this.#planned === undefined) {
      if (this.#tests === 0) this.#problem("no-tests", "no test ran and there was no plan");
      else this.#problem("no-plan", `${this.#tests} tests ran, but there was no plan`);
    } else if (this.#planned === 0 && this.#skipAll === undefined) {
      this.#problem("no-tests", "the plan is for no test at all", this.#planStatement);
    } else if (this.#planned !== this.#tests) {
      this.#problem(
        "plan-mismatch",
        `planned ${this.#planned} tests, but ${this.#tests} ran`,
        this.#planStatement,
      );
    }
    return {
      planned: this.#planned,
      skipAll: this.#skipAll,
      counts: this.#counts,
      problems: this.#problems,
    };
  }

  #test(match: RegExpExecArray, statement: Statement | undefined): void {
    this.#flush();
    this.#tests += 1;
    this.#testStatement = statement;
    const assertion = readAssertion(match, this.#tests, statement);
    assertion.subtests.push(
      ...this.#nested
        .filter((nested) => isFailure(nested.assertion))
        .map((nested) => nested.assertion),
    );
    assertion.diagnostics.push(...this.#nestedDiagnostics);
    this.#nested = [];
    this.#nestedDiagnostics = [];
    this.#died = false;
    if (match[2] !== undefined && Number(match[2]) !== this.#tests) {
      this.#problem(
        "out-of-sequence",
        `test number ${match[2]} came where ${this.#tests} was due`,
        statement,
      );
    }
    if (this.#planLast) {
      this.#problem(
        "output-after-plan",
        `test ${this.#tests} came after the plan that ended the file's tests`,
        statement,
      );
    }
    this.#open = assertion;
  }

  #plan(count: number, tail: string, statement: Statement | undefined): void {
    this.#flush();
    if (this.#planned !== undefined) {
      this.#problem("plan-twice", "there was more than one plan", statement);
      return;
    }
    this.#planned = count;
    this.#planStatement = statement;
    this.#planLast = this.#tests > 0;
    if (count === 0) this.#skipAll = skipAllPattern.exec(tail)?.[1];
  }

  #comment(text: string, owner: OpenAssertion | undefined, statement: Statement | undefined): void {
    // runtests() announces each subtest, finish() sums up: neither says anything of one test.
    if (/^# (Subtest: |Looks like you (failed|planned) )/.test(text)) return;
    if (owner === undefined || this.#testStatement !== statement) {
      // diag() of the file's own: it belongs to the output.
      this.#listener.onOther(text);
      return;
    }
    if (owner.diagnostics.length < keptDiagnostics)
      owner.diagnostics.push(text.replace(/^# ?/, ""));
  }

  /** Subtests count for nothing by themselves: they say why the test that follows them failed. */
  #nestedLine(level: number, text: string, statement: Statement | undefined): boolean {
    if (text.startsWith("#")) {
      this.#nestedComment(text, statement);
      return true;
    }
    const match = testPattern.exec(text);
    if (match === null) return planPattern.test(text);
    this.#died = false;
    this.#testStatement = statement;
    const assertion = readAssertion(match, Number(match[2] ?? 0), statement);
    const deeper = this.#nested.filter((nested) => nested.level > level);
    assertion.subtests.push(
      ...deeper.filter((nested) => isFailure(nested.assertion)).map((nested) => nested.assertion),
    );
    // Passed subtests are of no further interest, except the last, which may get diagnostics.
    this.#nested = this.#nested.filter(
      (nested) => nested.level <= level && isFailure(nested.assertion),
    );
    this.#nested.push({ level, assertion });
    return true;
  }

  #nestedComment(text: string, statement: Statement | undefined): void {
    this.#died ||= text.startsWith("# Test died: ");
    const subtest = this.#nested.at(-1)?.assertion;
    if (!this.#died && subtest !== undefined && isFailure(subtest)) {
      this.#comment(text, subtest, statement);
    } else if (
      !text.startsWith("# Subtest: ") &&
      this.#nestedDiagnostics.length < keptDiagnostics
    ) {
      this.#nestedDiagnostics.push(text.replace(/^# ?/, ""));
    }
  }

  #flush(): void {
    const assertion = this.#open;
    if (assertion === undefined) return;
    this.#open = undefined;
    const kind = assertion.directive?.kind;
    if (isFailure(assertion)) this.#counts.failed += 1;
    else if (kind === "skip") this.#counts.skipped += 1;
    else if (assertion.passed) this.#counts.passed += 1;
    else this.#counts.todo += 1;
    this.#listener.onAssertion(assertion);
  }

  #problem(code: Problem["code"], message: string, statement?: Statement): void {
    // One out of step puts all that follow out of step: the first says it.
    if (this.#reported.has(code)) return;
    this.#reported.add(code);
    this.#problems.push({ code, message, location: statement?.location, sql: statement?.sql });
  }
}

/** It makes the file red. */
export function isFailure(assertion: Assertion): boolean {
  return !assertion.passed && assertion.directive?.kind !== "todo";
}

function readAssertion(
  match: RegExpExecArray,
  number: number,
  statement: Statement | undefined,
): OpenAssertion {
  const directive = directivePattern.exec(match[3] ?? "");
  const description = (directive?.[1] ?? match[3] ?? "").trim();
  return {
    number,
    passed: match[1] === undefined,
    // pgTAP escapes what TAP would take for a directive.
    description: description.replace(/^-\s*/, "").replace(/\\#/g, "#"),
    directive:
      directive === null
        ? undefined
        : {
            kind: directive[2]?.toLowerCase() === "skip" ? "skip" : "todo",
            reason: (directive[3] ?? "").trim(),
          },
    diagnostics: [],
    location: statement?.location,
    sql: statement?.sql,
    subtests: [],
  };
}
