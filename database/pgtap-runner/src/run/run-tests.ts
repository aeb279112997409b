import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { RunnerError, messageOf } from "../errors.ts";
import { NeedsPsql } from "../psql/needs-psql.ts";
import { quoteLiteral } from "../psql/scanner.ts";
import type { Reporter } from "../report/reporter.ts";
import { type FileResult, type RunResult, addCounts, noCounts } from "../results.ts";
import {
  type ConnectionOptions,
  type ConnectionSettings,
  resolveConnection,
} from "../server/connection-settings.ts";
import { type RecorderListener, notRun } from "./file-recorder.ts";
import {
  type FileRun,
  type FileRunOptions,
  runFileNatively,
  runFileWithPsql,
} from "./file-runner.ts";
import { findFiles, shardOf } from "./find-files.ts";
import { oneMorePays } from "./hiring.ts";
import { type Place, Places } from "./places.ts";
import { LeakFinder } from "./session-state.ts";
import { type TestFile, readTestFile, testFile } from "./test-file.ts";

export interface RunOptions {
  /** Files, directories and globs. */
  files?: readonly string[];
  /** Endings of the files that count in a directory. Default `.sql` and `.pg`. */
  extensions?: readonly string[];
  /** Run the functions of a schema whose names match, as pgTAP's `runtests()` does. */
  runtests?: { schema?: string | undefined; match?: string | undefined } | undefined;
  /** The server and the database under test. Default: the PG* variables. */
  connection?: ConnectionOptions;
  /** Files run at a time, at most. Default: one for each processor; in place, one. */
  workers?: number | undefined;
  /** `clones` (default): each worker has a copy of the database. `in-place`: all use itself. */
  isolation?: "clones" | "in-place" | undefined;
  reporters?: readonly Reporter[];
  /** Part `index` of `total`, counted from 1. */
  shard?: { index: number; total: number } | undefined;
  /** Stop after this many files have failed. */
  bail?: number | undefined;
  /** Most time for one file, in milliseconds. Default: no limit. */
  timeoutMs?: number | undefined;
  /** psql variables, as `--set` gives them. */
  variables?: Readonly<Record<string, string>>;
  /** Settings that a file may leave changed. */
  allowedLeaks?: readonly string[];
  /** SQL files run on the copy of the database before it is copied for the workers. */
  load?: readonly string[];
  /** Load the assertions that pgTAP lacks (`sql/assertions.sql`). */
  assertions?: boolean | undefined;
  /** Where pgTAP's SQL is (file, directory or package), for a server without the extension. */
  pgtap?: string | undefined;
  /** Leave pgTAP's functions in the copies as they are: slower, with the same results. */
  stockPgtap?: boolean | undefined;
  /** The psql program, for files that need it. Default `psql`. */
  psqlProgram?: string | undefined;
  /** Keep the output of files that passed, too. */
  keepOutput?: boolean | undefined;
  /** Relative paths start here, and so does `\i`. Default: the current directory. */
  workingDirectory?: string;
  /** How long a server that is gone is waited for, in milliseconds. Default 30 s. */
  reconnectTimeoutMs?: number | undefined;
  /** Stops the run: what has not run is reported as such. */
  signal?: AbortSignal | undefined;
}

/**
 * Runs pgTAP tests.
 *
 * @returns the verdict; red tests are no exception
 * @throws RunnerError when nothing could be run: no files, no server, no right to copy the database
 */
export async function runTests(options: RunOptions): Promise<RunResult> {
  const run = new Run(options);
  return run.execute();
}

/** How often it is looked whether one more worker pays, in milliseconds. */
const hiringIntervalMs = 10;

/** Why a run ends before its end; the text is what people see. */
class Interruption extends Error {}

class Run {
  readonly #options: RunOptions;
  readonly #settings: ConnectionSettings;
  readonly #workingDirectory: string;
  readonly #reporters: readonly Reporter[];
  readonly #stop = new AbortController();
  readonly #files: readonly string[];
  readonly #queue: string[];
  readonly #results = new Map<string, FileResult>();
  readonly #warnings: string[] = [];
  readonly #leaks: LeakFinder;
  readonly #workers: Promise<void>[] = [];
  #mostWorkers = 1;
  #workersLeft = 0;
  #placed = 0;
  #firstPlacedAt = 0;
  #placeMs = Infinity;
  #startedFiles = 0;
  #failedFiles = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    this.#settings = resolveConnection(options.connection);
    this.#workingDirectory = options.workingDirectory ?? process.cwd();
    this.#reporters = options.reporters ?? [];
    this.#leaks = new LeakFinder(options.allowedLeaks ?? []);
    const found =
      options.runtests === undefined
        ? findFiles(options.files ?? [], this.#workingDirectory, options.extensions)
        : [runtestsCall(options.runtests)];
    if (found.length === 0) {
      throw new RunnerError("no-files", "there is nothing to run", {
        exitCode: 2,
        next: "name test files, directories or globs",
      });
    }
    this.#files = options.shard === undefined ? found : shardOf(found, options.shard);
    this.#queue = [...this.#files];
  }

  async execute(): Promise<RunResult> {
    const startedAt = performance.now();
    const { signal } = this.#options;
    const interrupt = (): void => this.#interrupt("interrupted");
    signal?.addEventListener("abort", interrupt);
    if (signal?.aborted === true) interrupt();
    try {
      const places = await Places.open(this.#settings, {
        isolation: this.#options.isolation ?? "clones",
        preparation: {
          load: this.#options.load ?? [],
          assertions: this.#options.assertions ?? false,
          pgtap: this.#options.pgtap,
          workingDirectory: this.#workingDirectory,
        },
        stockPgtap: this.#options.stockPgtap ?? false,
        reconnectTimeoutMs: this.#options.reconnectTimeoutMs ?? 30_000,
        signal: this.#stop.signal,
      });
      let problems: string[];
      try {
        await this.#runAll(places);
      } finally {
        problems = await places.close();
      }
      const result = this.#conclude(problems, performance.now() - startedAt);
      for (const reporter of this.#reporters) await reporter.onEnd?.(result);
      return result;
    } finally {
      signal?.removeEventListener("abort", interrupt);
    }
  }

  #countMostWorkers(): number {
    const inPlace = this.#options.isolation === "in-place";
    const wanted = this.#options.workers ?? (inPlace ? 1 : availableParallelism());
    return Math.max(1, Math.min(wanted, this.#files.length));
  }

  #tell(what: (reporter: Reporter) => void): void {
    for (const reporter of this.#reporters) what(reporter);
  }

  #interrupt(why: string): void {
    if (!this.#stop.signal.aborted) this.#stop.abort(new Interruption(why));
  }

  /** Why the run has been stopped, or undefined while it goes on. */
  get #interruption(): string | undefined {
    return this.#stop.signal.aborted ? messageOf(this.#stop.signal.reason) : undefined;
  }

  async #runAll(places: Places): Promise<void> {
    this.#mostWorkers = this.#countMostWorkers();
    const plan = { files: this.#files, workers: this.#mostWorkers };
    this.#tell((reporter) => reporter.onStart?.(plan));
    this.#hire(places);
    const hiring = setInterval(() => this.#hireWhereItPays(places), hiringIntervalMs);
    const ends: PromiseSettledResult<void>[] = [];
    // Meanwhile there may be more of them.
    for (let index = 0; index < this.#workers.length; index++) {
      ends.push(...(await Promise.allSettled(this.#workers.slice(index, index + 1))));
    }
    clearInterval(hiring);
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    // What is left was left by an interruption.
    for (const path of this.#queue.splice(0)) {
      this.#record(notRun(path, this.#interruption ?? "no worker was left"));
    }
  }

  #hire(places: Places): void {
    this.#workersLeft += 1;
    this.#workers.push(this.#work(places));
  }

  #hireWhereItPays(places: Places): void {
    const progress = () => ({
      workers: this.#workersLeft,
      placed: this.#placed,
      runningMs: performance.now() - this.#firstPlacedAt,
      placeMs: this.#placeMs,
      finishedFiles: this.#results.size,
      waitingFiles: this.#queue.length,
    });
    while (
      this.#interruption === undefined &&
      this.#workersLeft < this.#mostWorkers &&
      oneMorePays(progress())
    ) {
      this.#hire(places);
    }
  }

  async #take(places: Places): Promise<Place> {
    const begun = performance.now();
    const place = await places.take();
    const now = performance.now();
    this.#placeMs = Math.min(this.#placeMs, now - begun);
    return place;
  }

  /** One worker: takes files until there are none, and a new place whenever it needs one. */
  async #work(places: Places): Promise<void> {
    let place: Place | undefined;
    let placed = false;
    for (;;) {
      const path = this.#interruption === undefined ? this.#queue.shift() : undefined;
      if (path === undefined) break;
      const file = this.#read(path);
      if (file === undefined) continue;
      if (file.isolated && place?.used === true) {
        await places.discard(place);
        place = undefined;
      }
      try {
        place ??= await this.#take(places);
      } catch (error) {
        this.#queue.unshift(path);
        this.#giveUp(error);
        return;
      }
      if (!placed) {
        placed = true;
        if (this.#placed === 0) this.#firstPlacedAt = performance.now();
        this.#placed += 1;
      }
      this.#startedFiles += 1;
      this.#tell((reporter) => reporter.onFileStart?.(path));
      const run = await this.#runFile(file, place, places);
      this.#record(run.result);
      place = run.place;
    }
    await place?.session.close();
  }

  #read(path: string): TestFile | undefined {
    if (this.#options.runtests !== undefined) return testFile(path, `SELECT * FROM ${path};`);
    try {
      return readTestFile(path, resolve(this.#workingDirectory, path));
    } catch (error) {
      this.#tell((reporter) => reporter.onFileStart?.(path));
      this.#record(unreadable(path, error));
      return undefined;
    }
  }

  /**
   * A worker finds no place. The others go on without it; when there are none, what could not be
   * run is said, and a run that has not even begun fails as a whole.
   */
  #giveUp(error: unknown): void {
    this.#workersLeft -= 1;
    this.#mostWorkers = this.#workersLeft;
    if (this.#interruption !== undefined) return;
    if (this.#startedFiles === 0 && this.#workersLeft === 0) throw error;
    if (this.#workersLeft > 0) this.#warnings.push(`one worker less: ${messageOf(error)}`);
    else this.#interrupt(messageOf(error));
  }

  /** Runs a file, and returns the place if the next file may use it. */
  async #runFile(
    file: TestFile,
    place: Place,
    places: Places,
  ): Promise<{ result: FileResult; place: Place | undefined }> {
    const limit = new AbortController();
    const { timeoutMs } = this.#options;
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => limit.abort(), timeoutMs);
    const signal = AbortSignal.any([this.#stop.signal, limit.signal]);
    place.used = true;
    let current: Place | undefined = place;
    let run: FileRun;
    try {
      const native = await this.#natively(file, place, places, signal);
      if (typeof native === "object") run = native;
      else {
        if (file.needsPsql === undefined) {
          // What the file has done so far is undone by starting anew elsewhere.
          await places.discard(place);
          current = undefined;
          try {
            current = await places.take();
          } catch (error) {
            return { result: notRun(file.path, messageOf(error)), place: undefined };
          }
        }
        run = await runFileWithPsql(
          file,
          native,
          this.#settings,
          current,
          this.#listener(file),
          signal,
          this.#fileOptions(places),
        );
      }
    } finally {
      clearTimeout(timer);
    }
    const dead = current.session.lost !== undefined;
    if (run.changed || file.isolated || dead) {
      await places.discard(current);
      current = undefined;
    }
    return { result: this.#judge(run.result, limit.signal.aborted), place: current };
  }

  /** Runs a file here, or returns why psql has to. */
  async #natively(
    file: TestFile,
    place: Place,
    places: Places,
    signal: AbortSignal,
  ): Promise<FileRun | string> {
    if (file.needsPsql !== undefined) return file.needsPsql;
    const abort = (): void => void place.session.terminate();
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    try {
      return await runFileNatively(file, place, this.#listener(file), this.#fileOptions(places));
    } catch (error) {
      if (error instanceof NeedsPsql) return error.message;
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  #listener(file: TestFile): RecorderListener {
    const { path } = file;
    return {
      onAssertion: (assertion) => this.#tell((reporter) => reporter.onAssertion?.(path, assertion)),
      onOutput: (line) => this.#tell((reporter) => reporter.onOutput?.(path, line)),
      onBailOut: (reason) =>
        this.#interrupt(`${path} bailed out${reason === "" ? "" : `: ${reason}`}`),
    };
  }

  #fileOptions(places: Places): FileRunOptions {
    return {
      workingDirectory: this.#workingDirectory,
      variables: this.#options.variables ?? {},
      leaks: this.#leaks,
      psqlProgram: this.#options.psqlProgram ?? "psql",
      keepOutput: this.#options.keepOutput ?? false,
      skip: places.skip,
    };
  }

  /** A connection that we cut ourselves is no fault of the file. */
  #judge(result: FileResult, timedOut: boolean): FileResult {
    const cut = result.problems.find(({ code }) => code === "connection-lost");
    if (cut === undefined) return result;
    const problems = result.problems.filter(({ code }) => code !== "connection-lost");
    if (problems.some(({ code }) => code === "bail-out")) return { ...result, problems };
    if (timedOut) {
      const seconds = (this.#options.timeoutMs ?? 0) / 1000;
      problems.push({ ...cut, code: "timeout", message: `not done after ${seconds} s` });
      return { ...result, problems };
    }
    const reason = this.#interruption;
    if (reason === undefined) return result;
    return { ...result, problems, status: "not-run", reason };
  }

  #record(result: FileResult): void {
    this.#results.set(result.path, result);
    if (result.status === "failed") this.#failedFiles += 1;
    this.#tell((reporter) => reporter.onFileEnd?.(result));
    const { bail } = this.#options;
    if (bail !== undefined && this.#failedFiles >= bail) {
      this.#interrupt(`${bail === 1 ? "a file" : `${bail} files`} failed, and --bail was given`);
    }
  }

  #conclude(dropProblems: readonly string[], durationMs: number): RunResult {
    const files = this.#files.map(
      (path) => this.#results.get(path) ?? notRun(path, this.#interruption ?? "not reached"),
    );
    const counts = files.map((file) => file.counts).reduce(addCounts, noCounts);
    const problems = [...dropProblems];
    const failed = files.some(({ status }) => status === "failed");
    const incomplete = files.some(({ status }) => status === "not-run");
    const ran = counts.passed + counts.failed + counts.skipped + counts.todo;
    if (ran === 0 && !failed && !incomplete) {
      problems.push("no test ran: every file was skipped");
    }
    const bailed = this.#options.bail !== undefined && this.#failedFiles >= this.#options.bail;
    const exitCode =
      (incomplete && !bailed) || dropProblems.length > 0
        ? 1
        : failed || problems.length > 0
          ? 3
          : 0;
    return {
      passed: exitCode === 0,
      exitCode,
      files,
      counts,
      interrupted: this.#interruption,
      problems,
      warnings: this.#warnings,
      workers: this.#workers.length,
      durationMs,
    };
  }
}

function runtestsCall(options: NonNullable<RunOptions["runtests"]>): string {
  const parts = [
    ...(options.schema === undefined ? [] : [`${quoteLiteral(options.schema).trim()}::name`]),
    ...(options.match === undefined ? [] : [`${quoteLiteral(options.match).trim()}::text`]),
  ];
  return `runtests(${parts.join(", ")})`;
}

function unreadable(path: string, error: unknown): FileResult {
  return {
    ...notRun(path, ""),
    status: "failed",
    reason: undefined,
    problems: [{ code: "file-unreadable", message: messageOf(error) }],
  };
}
