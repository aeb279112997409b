import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readDirectoryIfExists } from "#system";
import { SqlTextError } from "./lexer.ts";
import { SqlFileError } from "./sql-file-error.ts";
import { lineCounter, splitStatements, type SqlText, type Statement } from "./split-statements.ts";

/** One file of SQL that the runner applies. */
export interface MigrationFile {
  /** Numbered files are applied once, in order; repeatable ones whenever their text changes. */
  kind: "numbered" | "repeatable";
  /** "003" of 003_name.sql; null for a repeatable file. */
  version: string | null;
  /** The file's name with its suffix. */
  name: string;
  /** The name in words, as the ledger shows it. */
  description: string;
  path: string;
  /** Hex digest of the file's bytes: what `sha256sum` prints. */
  sha256: string;
  /** False when the file's header says `-- ctm: no-transaction`. */
  transactional: boolean;
}

/** A file with its text and statements: what the runner works on. */
export interface ParsedMigration extends MigrationFile {
  source: string;
  statements: Statement[];
}

/** The folder that holds `migrations/` and `repeatable/` of this project. */
export const databaseFolder = fileURLToPath(new URL("..", import.meta.url));

const numberedName = /^(\d{3,})_([a-z0-9]+(?:_[a-z0-9]+)*)\.sql$/;
const repeatableName = /^[a-z0-9]+(?:_[a-z0-9]+)*\.sql$/;
const directive = /^--\s*ctm:\s*(.*?)\s*$/;
/** First words of statements that would end the transaction which the runner holds. */
const transactionControl = new Set(["BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK"]);

/**
 * The migrations below a folder: numbered ones in order of version, then repeatable ones by name.
 *
 * @param folder holds `migrations/` and `repeatable/`; this project's own by default
 * @throws CtmError when a file's name or text breaks a rule, naming file and line
 */
export async function migrationFiles(folder: string = databaseFolder): Promise<MigrationFile[]> {
  const parsed = await readMigrations(folder);
  return parsed.map(({ source: _source, statements: _statements, ...file }) => file);
}

/** As `migrationFiles`, with text and statements. */
export async function readMigrations(folder: string = databaseFolder): Promise<ParsedMigration[]> {
  const numbered = await readFolder(join(folder, "migrations"), "numbered");
  const repeatable = await readFolder(join(folder, "repeatable"), "repeatable");
  numbered.sort((left, right) => compareVersions(left.version ?? "", right.version ?? ""));
  for (const [index, file] of numbered.entries()) {
    const before = numbered[index - 1];
    if (before !== undefined && compareVersions(before.version ?? "", file.version ?? "") === 0) {
      const what = `${before.name} and ${file.name} have the same number`;
      throw new SqlFileError(
        "migration-number-taken",
        { file: file.path, line: null, what },
        { message: what, next: `give ${file.name} the next free number`, exitCode: 2 },
      );
    }
  }
  repeatable.sort((left, right) => (left.name < right.name ? -1 : 1));
  return [...numbered, ...repeatable];
}

/** Orders "002" before "010" and "1000"; anything that is no number comes last, by its text. */
export function compareVersions(left: string, right: string): number {
  const digits = /^\d+$/;
  if (digits.test(left) && digits.test(right)) {
    const difference = BigInt(left) - BigInt(right);
    return difference === 0n ? 0 : difference < 0n ? -1 : 1;
  }
  if (digits.test(left) !== digits.test(right)) return digits.test(left) ? -1 : 1;
  return left === right ? 0 : left < right ? -1 : 1;
}

async function readFolder(folder: string, kind: MigrationFile["kind"]): Promise<ParsedMigration[]> {
  const wanted = (await readDirectoryIfExists(folder)).filter(
    (name) => name.endsWith(".sql") && !name.startsWith("."),
  );
  return await Promise.all(wanted.map((name) => readMigration(folder, name, kind)));
}

async function readMigration(
  folder: string,
  name: string,
  kind: MigrationFile["kind"],
): Promise<ParsedMigration> {
  const path = join(folder, name);
  const match = (kind === "numbered" ? numberedName : repeatableName).exec(name);
  if (match === null) {
    const form = kind === "numbered" ? "NNN_what_it_does.sql" : "what_it_defines.sql";
    throw new SqlFileError(
      "bad-migration-name",
      {
        file: path,
        line: null,
        what: `a ${kind} migration is called ${form}, in lower case, digits and underscores`,
      },
      { next: "rename the file; ctm migrate new NAME makes one with the next number", exitCode: 2 },
    );
  }
  const bytes = await readFile(path);
  return parseMigration({ path, name, kind, bytes });
}

/** Reads one file's bytes as a migration, checking everything that needs no server. */
export function parseMigration(file: {
  path: string;
  name: string;
  kind: MigrationFile["kind"];
  bytes: Uint8Array;
}): ParsedMigration {
  const { path, name, kind, bytes } = file;
  const source = decode(bytes, path);
  const text = split(source, path);
  const transactional = readDirectives(text, path);
  checkStatements(text.statements, { transactional, path });
  const [, version, title] = numberedName.exec(name) ?? [];
  return {
    kind,
    version: kind === "numbered" ? (version ?? null) : null,
    name,
    description: (title ?? name.replace(/\.sql$/, "")).replaceAll("_", " "),
    path,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    transactional,
    source,
    statements: text.statements,
  };
}

function decode(bytes: Uint8Array, path: string): string {
  let source: string;
  try {
    source = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw ruleBroken(path, 1, "the file is not UTF-8", "save it as UTF-8");
  }
  const zero = source.indexOf("\0");
  if (zero >= 0) {
    const line = lineCounter(source)(zero);
    throw ruleBroken(path, line, "the file holds a zero byte", "remove it");
  }
  return source;
}

function split(source: string, path: string): SqlText {
  try {
    return splitStatements(source);
  } catch (error) {
    if (!(error instanceof SqlTextError)) throw error;
    const line = lineCounter(source)(error.offset);
    throw ruleBroken(
      path,
      line,
      error.message,
      error.reason === "meta-command"
        ? "write plain SQL: migrations are sent to the server, not to psql"
        : "close it",
    );
  }
}

/** Returns whether the file runs in a transaction; unknown or misplaced directives are errors. */
function readDirectives(text: SqlText, path: string): boolean {
  let transactional = true;
  const firstStatement = text.statements[0]?.offset ?? Infinity;
  for (const comment of text.comments) {
    const wanted = directive.exec(comment.text)?.[1];
    if (wanted === undefined) continue;
    if (wanted !== "no-transaction") {
      throw ruleBroken(
        path,
        comment.line,
        `"-- ctm: ${wanted}" is not known`,
        'the only one is "-- ctm: no-transaction"',
      );
    }
    if (comment.offset > firstStatement) {
      throw ruleBroken(
        path,
        comment.line,
        '"-- ctm: no-transaction" stands after the first statement',
        "move it to the top of the file",
      );
    }
    transactional = false;
  }
  return transactional;
}

function checkStatements(
  statements: readonly Statement[],
  file: { transactional: boolean; path: string },
): void {
  const { path, transactional } = file;
  const second = statements[1];
  if (!transactional && second !== undefined) {
    throw ruleBroken(
      path,
      second.line,
      "a no-transaction file holds one statement, and this is a second one",
      "put it into a file of its own: with one statement a failure leaves nothing half done",
    );
  }
  for (const statement of statements) {
    const [first = "", next = ""] = statement.head;
    const ends =
      (transactionControl.has(first) && !(first === "ROLLBACK" && next === "TO")) ||
      (first === "PREPARE" && next === "TRANSACTION");
    if (ends) {
      throw ruleBroken(
        path,
        statement.line,
        `${first} would end the transaction that the runner holds`,
        transactional
          ? "remove it: each file already runs in one transaction"
          : "remove it: this file runs without a transaction",
      );
    }
    if (first === "COPY" && /\bfrom\s+stdin\b/i.test(statement.text)) {
      throw ruleBroken(
        path,
        statement.line,
        "COPY … FROM STDIN needs a client that sends the rows",
        "write the rows as INSERT … VALUES",
      );
    }
    const concurrently = statement.head.includes("CONCURRENTLY");
    if (concurrently && transactional && ["CREATE", "DROP", "REINDEX"].includes(first)) {
      throw ruleBroken(
        path,
        statement.line,
        `${first} … CONCURRENTLY cannot run in a transaction`,
        'put it alone into a file that begins with "-- ctm: no-transaction"',
      );
    }
    // A runner killed after the statement and before the ledger's row makes the next one run the
    // file again; with IF [NOT] EXISTS that is harmless.
    if (concurrently && first !== "REINDEX" && !transactional) {
      const wanted = first === "DROP" ? "IF EXISTS" : first === "CREATE" ? "IF NOT EXISTS" : "";
      if (!statement.head.join(" ").includes(wanted)) {
        throw ruleBroken(
          path,
          statement.line,
          `${first} … CONCURRENTLY without ${wanted} cannot be run again after an interruption`,
          `add ${wanted}`,
        );
      }
    }
  }
}

function ruleBroken(file: string, line: number, what: string, next: string): SqlFileError {
  return new SqlFileError("bad-migration", { file, line, what }, { next, exitCode: 2 });
}
