import { DatabaseError } from "pg";
import type { Statement } from "./split-statements.ts";

/** A statement's place in its file, for messages. */
export interface Place {
  /** Path or name of the file, as it shall be shown. */
  file: string;
  /** The file's whole text. */
  source: string;
  statement: Statement;
  /** Which of how many statements. */
  number: number;
  of: number;
}

/**
 * What a server's refusal of a statement looks like to a person: the place, the server's sentence,
 * the line with a caret below the place that the server names, then detail, hint and context.
 */
export function describeSqlFailure(error: unknown, place: Place): string {
  const message = error instanceof Error ? error.message : String(error);
  if (!(error instanceof DatabaseError))
    return `${headline(place, place.statement.offset)}${message}`;
  const at = offsetOfFailure(error, place);
  const lines = [
    `${headline(place, at)}${message} (SQLSTATE ${error.code ?? "unknown"})`,
    ...excerpt(place.source, at, error.position !== undefined),
  ];
  if (error.detail !== undefined) lines.push(`detail: ${error.detail}`);
  if (error.hint !== undefined) lines.push(`hint: ${error.hint}`);
  if (error.internalQuery !== undefined) lines.push(`in: ${error.internalQuery.trim()}`);
  if (error.where !== undefined) lines.push(`where: ${error.where}`);
  return lines.join("\n");
}

/** The line that the server names, or the one where the statement begins; counted from 1. */
export function lineOfFailure(error: unknown, place: Place): number {
  return lineAndColumn(place.source, offsetOfFailure(error, place)).line;
}

function offsetOfFailure(error: unknown, { statement }: Place): number {
  const position = error instanceof DatabaseError ? error.position : undefined;
  return (
    statement.offset +
    (position === undefined ? 0 : utf16Length(statement.text, Number(position) - 1))
  );
}

function headline(place: Place, at: number): string {
  const { line, column } = lineAndColumn(place.source, at);
  return `${place.file}:${line}:${column}, statement ${place.number} of ${place.of}: `;
}

/** The server counts characters, JavaScript UTF-16 units: one beyond U+FFFF takes two of those. */
function utf16Length(text: string, characters: number): number {
  let length = 0;
  let left = characters;
  for (const character of text) {
    if (left <= 0) break;
    left -= 1;
    length += character.length;
  }
  return length;
}

function characterCount(text: string): number {
  return text.replace(/[\ud800-\udbff][\udc00-\udfff]/g, "x").length;
}

function lineAndColumn(
  source: string,
  at: number,
): { line: number; column: number; start: number } {
  const start = source.lastIndexOf("\n", at - 1) + 1;
  const line = source.slice(0, start).split("\n").length;
  return { line, column: characterCount(source.slice(start, at)) + 1, start };
}

function excerpt(source: string, at: number, caret: boolean): string[] {
  const { line, start } = lineAndColumn(source, at);
  const end = source.indexOf("\n", start);
  const text = source.slice(start, end < 0 ? source.length : end).trimEnd();
  const margin = `${line} | `;
  if (!caret) return [`  ${margin}${text}`];
  // Tabs stay tabs, so that the caret stands below its place in any terminal.
  const indent = source.slice(start, at).replace(/[^\t]/gu, " ");
  return [`  ${margin}${text}`, `  ${" ".repeat(margin.length - 2)}| ${indent}^`];
}
