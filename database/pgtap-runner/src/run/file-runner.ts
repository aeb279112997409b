import { dirname, resolve } from "node:path";
import { type ListedStatement, listStatements } from "../psql/list-statements.ts";
import { runWithPsql } from "../psql/external.ts";
import { Script, type ScriptOptions } from "../psql/script.ts";
import { Source } from "../psql/source.ts";
import type { FileResult, Location, OutputLine } from "../results.ts";
import { ConnectionLost, type ServerMessage, SqlError } from "../server/session.ts";
import { type ConnectionSettings, psqlEnvironment } from "../server/connection-settings.ts";
import { FileRecorder, type RecorderListener } from "./file-recorder.ts";
import { needsOwnCounters } from "./shortcuts.ts";
import { type LeakFinder, resetSession } from "./session-state.ts";
import type { Place } from "./places.ts";
import type { TestFile } from "./test-file.ts";
import { TransactionWatch } from "./transaction-watch.ts";

export interface FileRunOptions {
  workingDirectory: string;
  variables: Readonly<Record<string, string>>;
  leaks: LeakFinder;
  psqlProgram: string;
  keepOutput: boolean;
  skip: ScriptOptions["skip"];
}

export interface FileRun {
  result: FileResult;
  /** Changes may have stayed in the database. */
  changed: boolean;
}

/**
 * Runs one file on a session that is as good as new, and leaves it so unless the connection broke.
 *
 * @throws NeedsPsql when the file turns out to be one for psql
 */
export async function runFileNatively(
  file: TestFile,
  place: Place,
  listener: RecorderListener,
  options: FileRunOptions,
): Promise<FileRun> {
  const { session, database } = place;
  const recorder = new FileRecorder(file.path, listener);
  const watch = new TransactionWatch();
  const finish = (cutShort: boolean, changed: boolean): FileRun => ({
    result: recorder.finish({
      interpreter: "native",
      cutShort,
      keepOutput: options.keepOutput,
    }),
    changed,
  });
  const absolute = resolve(options.workingDirectory, file.path);
  session.onNotification = (channel, payload, processId) => {
    const content = payload === "" ? "" : ` with payload "${payload}"`;
    recorder.text(
      `Asynchronous notification "${channel}"${content} received from server process with PID ${processId}.\n`,
      undefined,
    );
  };
  const script = new Script(
    session,
    {
      onText: (text, statement) => {
        const before = recorder.tests;
        recorder.text(text, statement);
        if (recorder.tests > before) watch.test(statement?.location);
      },
      onWarning: (text, location) => recorder.output({ kind: "warning", text, location }),
      onNotice: (notice, statement) =>
        recorder.output({
          kind: "notice",
          text: noticeText(notice),
          location: statement.location,
        }),
      onTolerated: (error) => {
        // ON_ERROR_STOP off forgives setting up what is there; a query that fails is a test lost.
        if (isQuery(error.statement?.words[0] ?? "")) recorder.scriptError(error);
        else recorder.output({ kind: "warning", text: error.message, location: error.location });
      },
      onStatement: (report) => watch.statement(report),
    },
    {
      workingDirectory: options.workingDirectory,
      variables: { DBNAME: database, ...options.variables },
      ...(options.skip === undefined ? {} : { skip: options.skip }),
    },
  );
  try {
    if (place.counters && needsOwnCounters(file.text)) {
      await session.rows("DISCARD TEMP");
      place.counters = false;
    }
    const error = await script.run(new Source(file.path, file.text), dirname(absolute));
    if (error !== undefined) recorder.scriptError(error);
    else
      for (const problem of watch.problems()) {
        if (file.isolated && problem.code === "transaction-ended-early") continue;
        recorder.problem(problem);
      }
    // A session in which everything was rolled back has nothing to leak.
    if (!watch.outside) await resetSession(session, place.counters);
    else {
      for (const problem of await options.leaks.find(session, file.text, place.counters)) {
        recorder.problem(problem);
      }
    }
    return finish(error !== undefined, watch.changed);
  } catch (error) {
    if (error instanceof SqlError) {
      // Only a setting that the file left behind (a statement_timeout, say) can do that.
      recorder.problem({
        code: "setting-leaked",
        message: `the session was left so that it cannot be reset: ${error.server.message}`,
      });
      return finish(false, true);
    }
    if (!(error instanceof ConnectionLost)) throw error;
    recorder.problem({
      code: "connection-lost",
      message: error.message,
      location: script.lostAt?.location,
      sql: script.lostAt?.sql,
    });
    return finish(true, true);
  }
}

/** Runs one file by psql, on a session of its own. What it changes may stay. */
export async function runFileWithPsql(
  file: TestFile,
  why: string,
  settings: ConnectionSettings,
  place: Place,
  listener: RecorderListener,
  signal: AbortSignal,
  options: FileRunOptions,
): Promise<FileRun> {
  const recorder = new FileRecorder(file.path, listener);
  const errors: { text: string; location: Location }[] = [];
  const outcome = await runWithPsql(file.path, {
    program: options.psqlProgram,
    environment: psqlEnvironment({ ...settings, database: place.database }),
    workingDirectory: options.workingDirectory,
    variables: options.variables,
    signal,
    customSettings: await options.leaks.settingsToCheck(place.session, file.text),
    onText: (text) => recorder.text(text, undefined),
    onMessage: (text, location) => {
      recorder.output(messageLine(text, location));
      if (text.startsWith("ERROR:") && location !== undefined) errors.push({ text, location });
    },
  });
  if (outcome.missing) {
    recorder.problem({
      code: "psql-missing",
      message: `${why} needs psql, and ${options.psqlProgram} is not installed`,
      next: "install PostgreSQL's client programs, or name psql with --psql-bin",
    });
  } else if (outcome.exitCode !== 0) {
    const lost = outcome.exitCode === 2 || outcome.exitCode === null;
    const serverError = outcome.error?.message.startsWith("ERROR:") === true;
    recorder.problem({
      code: lost ? "connection-lost" : serverError ? "sql-error" : "psql-error",
      message:
        outcome.error?.message.replace(/^(ERROR|error):\s*/, "") ??
        `psql ended with exit code ${outcome.exitCode}`,
      location: outcome.error?.location,
    });
  }
  const cutShort = outcome.missing || outcome.exitCode !== 0;
  // psql does not tell what the statements were that it ran: the text has to.
  const statements = listStatements(file.path, file.text);
  if (outcome.exitCode === 0) {
    for (const { text, location } of errors) {
      const failed = statements.find(
        (statement) => location.file === file.path && statement.lastLine === location.line,
      );
      if (failed !== undefined && !isQuery(failed.words[0])) continue;
      recorder.problem({
        code: "sql-error",
        message: text.slice("ERROR:".length).trim(),
        location,
      });
    }
  }
  if (outcome.left !== undefined) {
    if (outcome.left.transaction !== "none") {
      recorder.problem({
        code: "transaction-open",
        message: "the file ends inside the transaction that it began",
        next: "end the file with ROLLBACK",
      });
    }
    if (outcome.left.role === "" || outcome.left.ownRole === "") {
      // Only a setting that the file left behind (a statement_timeout, say) can do that.
      recorder.problem({
        code: "setting-leaked",
        message: "the session was left so that it cannot be examined",
      });
    } else {
      for (const problem of options.leaks.problems(outcome.left)) recorder.problem(problem);
    }
  }
  const commit = file.isolated ? undefined : findCommit(statements);
  if (commit !== undefined && !cutShort) {
    recorder.problem({
      code: "transaction-ended-early",
      message: "the transaction was committed: what it wrote stays for the files that follow",
      location: commit,
      next: "end it with ROLLBACK, or give the file its own database: -- @isolate database",
    });
  }
  return {
    result: recorder.finish({ interpreter: "psql", cutShort, keepOutput: options.keepOutput }),
    changed: true,
  };
}

/** Its result may have held a test. */
function isQuery(firstWord: string): boolean {
  return /^(select|with|values|execute|table|call|fetch)$/.test(firstWord);
}

/** The first COMMIT that follows a BEGIN. */
function findCommit(statements: readonly ListedStatement[]): Location | undefined {
  const begin = statements.findIndex(({ words }) => /^(begin|start)$/.test(words[0]));
  if (begin === -1) return undefined;
  const commit = statements
    .slice(begin)
    .find(({ words }) => /^(commit|end)$/.test(words[0]) && words[1] !== "prepared");
  return commit?.location;
}

function noticeText(notice: ServerMessage): string {
  const lines = [`${notice.severity}: ${notice.message}`];
  if (notice.detail !== undefined) lines.push(`DETAIL: ${notice.detail}`);
  if (notice.hint !== undefined) lines.push(`HINT: ${notice.hint}`);
  return lines.join("\n");
}

function messageLine(text: string, location: OutputLine["location"]): OutputLine {
  const notice = /^(NOTICE|INFO|LOG|DEBUG|WARNING):/.test(text);
  return { kind: notice ? "notice" : "warning", text, location };
}
