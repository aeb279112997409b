import { join } from "node:path";
import { CtmError } from "#system";
import { checkAccessOf } from "../access-document.ts";
import type { LintFinding } from "../lint/finding.ts";
import { lintCatalog } from "../lint/lint-catalog.ts";
import { lintHistory } from "../lint/lint-history.ts";
import { lintText } from "../lint/lint-text.ts";
import { RunnerError, runTests } from "../pgtap-runner/src/index.ts";
import { connect, disconnect } from "../runner/connect.ts";
import { makeFreshDatabase } from "../runner/fresh-database.ts";
import { databaseFolder, readMigrations, type ParsedMigration } from "../runner/migration-files.ts";
import {
  runnerConnection,
  withoutConnection,
  type ScratchServer,
} from "../runner/scratch-server.ts";
import { SqlFileError } from "../runner/sql-file-error.ts";
import { accessFindings } from "./check-access.ts";
import { accessFile, rolesFile, schemaFile, staleFindings } from "./check-documents.ts";
import { pgtapFindings } from "./check-pgtap.ts";
import { startCheckServer } from "./check-server.ts";
import {
  checkNames,
  checkoutFolder,
  relativeToCheckout,
  type CheckFinding,
  type CheckName,
} from "./finding.ts";

/** How one part came out. */
export interface CheckOutcome {
  name: CheckName;
  /** "skipped": it could not be done, for what another one found or for what is not here. */
  outcome: "passed" | "failed" | "skipped";
  /** What was looked at, or why it was not. */
  summary: string;
  /** Milliseconds. */
  durationMs: number;
}

export interface CheckReport {
  /** Whose server the migrations ran on, such as "PostgreSQL 15 (installed)"; null: on none. */
  server: string | null;
  /** One for each of `checkNames`, in their order. */
  checks: CheckOutcome[];
  findings: CheckFinding[];
  /** Milliseconds. */
  durationMs: number;
}

export interface CheckOptions {
  /** The revision whose migrations may be applied somewhere; see `lintHistory`. */
  base?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: (text: string) => void;
}

/**
 * Everything that can be said about a change of this checkout's `database/` without a cluster: on a
 * server of its own, which is gone afterwards.
 *
 * @throws CtmError when a part could not be done at all: no server, squawk not installed, interrupted
 */
export async function checkDatabase(options: CheckOptions = {}): Promise<CheckReport> {
  // All of it is about a server of our own: PGPORT, PGOPTIONS and the like mean another one.
  process.env = withoutConnection(process.env);
  const check = new DatabaseCheck(options);
  return check.run();
}

/** What one part looked at, and what it found. */
interface Looked {
  summary: string;
  findings: CheckFinding[];
}

class DatabaseCheck {
  readonly #options: CheckOptions;
  readonly #outcomes = new Map<CheckName, CheckOutcome>();
  readonly #findings: CheckFinding[] = [];
  readonly #startedAt = performance.now();

  constructor(options: CheckOptions) {
    this.#options = options;
  }

  async run(): Promise<CheckReport> {
    let step = "starting a server";
    const starting = startCheckServer((text) => {
      step = text;
    });
    // It is waited for below; that it fails meanwhile is no unhandled rejection.
    starting.catch(() => undefined);
    let server: string | null = null;
    try {
      await this.#part("history", () => checkHistory(this.#options.base));
      let files: ParsedMigration[] = [];
      await this.#part("lint", async () => {
        files = await readMigrations();
        return checkText(files);
      });
      const stale = [rolesFile()];
      if (files.length > 0) {
        this.#options.onProgress?.(step);
        const started = await starting;
        server = `PostgreSQL ${started.version} (${started.installed ? "installed" : "from npm"})`;
        await this.#checkOnServer(started, files, stale);
      }
      await this.#part("documents", async () => ({
        summary: `${stale.length} generated files`,
        findings: await staleFindings(stale),
      }));
    } finally {
      await (await starting.catch(() => undefined))?.stop();
    }
    return {
      server,
      checks: checkNames.map((name) => this.#outcomes.get(name) ?? notDone(name)),
      findings: checkNames.flatMap((name) => this.#findings.filter(({ check }) => check === name)),
      durationMs: Math.round(performance.now() - this.#startedAt),
    };
  }

  /** Runs the migrations, and then looks at what they made; adds the documents that describe it. */
  async #checkOnServer(
    server: ScratchServer,
    files: readonly ParsedMigration[],
    stale: ReturnType<typeof rolesFile>[],
  ): Promise<void> {
    const database = "checked";
    const migrated = await this.#part("migrations", async () => {
      await makeFreshDatabase(server, database);
      return { summary: `${files.length} files on an empty database`, findings: [] };
    });
    if (!migrated) {
      this.#preferTheServersSyntaxErrors();
      return;
    }
    await this.#part("catalog", async () => {
      const client = await connect(server.database(database), "ctm check");
      try {
        const found = await lintCatalog(client, { files });
        stale.push(await schemaFile(client));
        return {
          summary: "row security, grants, keys and indexes",
          findings: found.map(asFinding("catalog")),
        };
      } finally {
        await disconnect(client);
      }
    });
    await this.#part("access", async () => {
      const result = await checkAccessOf(server, database);
      // What is wrong in the matrix is wrong in the document, too: once is enough.
      if (result.passed) stale.push(accessFile(result));
      return {
        summary: `${result.counts.cells} combinations of actor, object and command`,
        findings: await accessFindings(result, files),
      };
    });
    await this.#part("pgtap", async () => this.#checkTests(server, database));
  }

  async #checkTests(server: ScratchServer, database: string): Promise<Looked> {
    const client = await connect(server.database(database), "ctm check");
    try {
      await client.query("CREATE EXTENSION pgtap");
    } finally {
      await disconnect(client);
    }
    const result = await runTests({
      files: [relativeToCheckout(join(databaseFolder, "tests"))],
      workingDirectory: checkoutFolder,
      connection: runnerConnection(server, database),
      signal: this.#options.signal,
    });
    const { passed, failed } = result.counts;
    return {
      summary: `${result.files.length} files, ${passed} tests passed, ${failed} failed`,
      findings: pgtapFindings(result),
    };
  }

  /** Does one part; what it throws about a file, or about its own task, is a finding too. */
  async #part(name: CheckName, look: () => Promise<Looked | string>): Promise<boolean> {
    this.#options.signal?.throwIfAborted();
    this.#options.onProgress?.(`checking: ${name}`);
    const begun = performance.now();
    const looked = await look().catch((error: unknown) => ({
      summary: "stopped at the first problem",
      findings: [thrownFinding(name, error)],
    }));
    this.#options.signal?.throwIfAborted();
    const durationMs = Math.round(performance.now() - begun);
    if (typeof looked === "string") {
      this.#outcomes.set(name, { name, outcome: "skipped", summary: looked, durationMs });
      return true;
    }
    const { summary, findings } = looked;
    const outcome = findings.length === 0 ? "passed" : "failed";
    this.#outcomes.set(name, { name, outcome, summary, durationMs });
    this.#findings.push(...findings);
    return outcome === "passed";
  }

  /** The linter's opinion of a syntax error says less than the server's. */
  #preferTheServersSyntaxErrors(): void {
    const failed = this.#findings.find(({ check }) => check === "migrations");
    const kept = this.#findings.filter(
      ({ check, file, message }) =>
        !(check === "lint" && file === failed?.file && message.startsWith("syntax-error")),
    );
    this.#findings.splice(0, Infinity, ...kept);
    if (kept.every(({ check }) => check !== "lint")) {
      const lint = this.#outcomes.get("lint");
      if (lint !== undefined) this.#outcomes.set("lint", { ...lint, outcome: "passed" });
    }
  }
}

async function checkHistory(base: string | undefined): Promise<Looked | string> {
  const found = await lintHistory(base === undefined ? {} : { base });
  if (found === null) return "this is no git checkout, so there is nothing to compare with";
  return {
    summary: `numbered migrations compared with ${found.base.slice(0, 12)}`,
    findings: found.findings.map(asFinding("history")),
  };
}

async function checkText(files: readonly ParsedMigration[]): Promise<Looked> {
  const findings = (await lintText(files)).map(asFinding("lint"));
  return { summary: `${files.length} files of SQL`, findings };
}

function asFinding(check: CheckName): (finding: LintFinding) => CheckFinding {
  return ({ file, line, message, rule, help }) => ({
    check,
    file: file === null ? null : relativeToCheckout(file),
    line,
    message: `${rule}: ${message}`,
    detail: null,
    next: help,
  });
}

/** @throws what is neither about a file nor a refusal of the tests' own runner */
function thrownFinding(check: CheckName, error: unknown): CheckFinding {
  if (error instanceof SqlFileError) {
    // Below the first line stand the server's caret, DETAIL and HINT.
    const [, ...detail] = error.message.split("\n");
    return {
      check,
      file: relativeToCheckout(error.file),
      line: error.line,
      message: error.what,
      detail: detail.length === 0 ? null : detail.join("\n"),
      next: error.next?.replace(/, then ctm migrate up$/, "") ?? null,
    };
  }
  const own = error instanceof RunnerError;
  if (own || (error instanceof CtmError && error.code === "history-unknown")) {
    const { code, message, next } = error;
    const what = `${code}: ${message}`;
    return { check, file: null, line: null, message: what, detail: null, next: next ?? null };
  }
  throw error;
}

function notDone(name: CheckName): CheckOutcome {
  return { name, outcome: "skipped", summary: "waits for what failed above", durationMs: 0 };
}
