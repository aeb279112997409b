import type { ServerMessage, TransactionStatus } from "../server/session.ts";
import { type Location, QueryBuffer } from "./query-buffer.ts";

/** A statement of a test file. */
export interface Statement {
  /** As it was sent, variables put in. */
  sql: string;
  location: Location;
  /** Its first two words in lower case. */
  words: readonly [string, string];
}

/** Something that went wrong in a script, with its place. */
export interface ScriptError {
  message: string;
  location: Location | undefined;
  /** The statement that failed; undefined for a backslash command. */
  statement: Statement | undefined;
  server: ServerMessage | undefined;
}

/** What a finished statement did to the transaction. */
export interface StatementReport {
  statement: Statement;
  before: TransactionStatus;
  after: TransactionStatus;
  /** One command tag for each statement of the query: `INSERT 0 1`. */
  tags: readonly string[];
  /** SQLSTATE codes of its notices. */
  noticeCodes: readonly string[];
  failed: boolean;
}

/** What a script produces, in order. */
export interface ScriptListener {
  /** Standard output, in pieces of any size. */
  onText(text: string, statement: Statement | undefined): void;
  /** What psql would write to standard error of its own accord. */
  onWarning(text: string, location: Location | undefined): void;
  onNotice(notice: ServerMessage, statement: Statement): void;
  /** An error that the script lives on from: ON_ERROR_STOP is off. */
  onTolerated(error: ScriptError): void;
  onStatement(report: StatementReport): void;
}

/** A statement that is ready to be sent. */
export interface Query {
  statement: Statement;
  buffer: QueryBuffer;
  /** It holds `\;`: several statements in one. */
  several: boolean;
}

/** The statement that a buffer holds; `fallback` is its place if it holds nothing from a file. */
export function makeQuery(buffer: QueryBuffer, several: boolean, fallback: Location): Query {
  const { lead, words } = openingWords(buffer.text);
  const location = buffer.locateOffset(lead.length) ?? fallback;
  const sql = buffer.text.slice(lead.length).trim();
  return { statement: { sql, location, words }, buffer, several };
}

/** A statement that does not stand in the file as it is sent. */
export function substitutedQuery(sql: string, location: Location): Query {
  const buffer = new QueryBuffer();
  buffer.append(sql, location, 0, true);
  return makeQuery(buffer, false, location);
}

const openingPattern =
  /^((?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*)([a-z_]*)(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*([a-z_]*)/i;

/** What comes before a statement's first word, and its first two words in lower case. */
export function openingWords(sql: string): { lead: string; words: readonly [string, string] } {
  const [, lead = "", first = "", second = ""] = openingPattern.exec(sql) ?? [];
  return { lead, words: [first.toLowerCase(), second.toLowerCase()] };
}
