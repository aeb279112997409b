import { DatabaseError, type FieldDef, type Pool } from "pg";
import { ApiError } from "../api-error.ts";
import {
  beginText,
  ConnectionLost,
  isEndOfConnection,
  type TransactionContext,
} from "../transaction.ts";

/** Most rows of one answer. */
export const longestAnswer = 1000;
/** Most bytes that the server may send for one answer; then the connection is broken off. */
const largestAnswerBytes = 8 * 1024 * 1024;

export interface AdminQueryAnswer {
  rows: Record<string, unknown>[];
  row_count: number;
  /** True where there were more rows than the answer holds. */
  truncated: boolean;
  execution_time_ms: number;
  fields: { name: string; data_type: string }[];
}

/** What begins a statement that can only read; PostgreSQL itself enforces the rest. */
const viaCursor = /^(select|with|values|table)\b|^\(/i;
const direct = /^(explain|show)\b/i;

const declare = "DECLARE answer NO SCROLL CURSOR FOR ";

/**
 * Runs one reading statement for an administrator. What holds it, from the outside in: a role that
 * may read harmless columns and nothing else, and is a member of nothing; a connection that serves
 * this statement only; a read-only transaction that is never committed; the extended protocol,
 * which takes one statement; a cursor, which takes only queries; limits on time, rows and bytes.
 *
 * @throws ApiError QUERY_NOT_ALLOWED, QUERY_EXECUTION_ERROR; ConnectionLost
 */
export async function runAdminQuery(
  pool: Pool,
  context: TransactionContext,
  sql: string,
  parameters: readonly unknown[],
): Promise<AdminQueryAnswer> {
  const start = withoutLeadingComments(sql);
  if (!viaCursor.test(start) && !direct.test(start)) {
    throw new ApiError(
      "QUERY_NOT_ALLOWED",
      "Only SELECT, WITH, VALUES, TABLE, EXPLAIN and SHOW are allowed, one statement at a time.",
    );
  }
  const client = await pool.connect().catch((error: unknown) => {
    throw new ConnectionLost(error);
  });
  // The same error also rejects the statement that was running.
  client.on("error", () => undefined);
  let received = 0;
  client.connection.stream.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (received > largestAnswerBytes) client.connection.stream.destroy();
  });
  const values = [...parameters];
  const began = performance.now();
  const prefix = direct.test(start) ? "" : declare;
  try {
    await client.query(beginText(context, "read"));
    const statement = { text: prefix + sql, values, ...plainly };
    let result = await client.query<unknown[]>(statement);
    if (prefix !== "") {
      result = await client.query<unknown[]>({
        text: `FETCH FORWARD ${longestAnswer + 1} FROM answer`,
        ...plainly,
      });
    }
    const elapsed = performance.now() - began;
    const names = result.fields.map((field) => field.name);
    const rows = result.rows
      .slice(0, longestAnswer)
      .map((row) => Object.fromEntries(names.map((name, index) => [name, row[index]])));
    const types = await client.query<[string]>({
      text: "SELECT format_type(id, modifier) FROM unnest($1::oid[], $2::integer[]) AS field (id, modifier)",
      values: [
        result.fields.map((field: FieldDef) => field.dataTypeID),
        result.fields.map((field: FieldDef) => field.dataTypeModifier),
      ],
      rowMode: "array",
    });
    return {
      rows,
      row_count: rows.length,
      truncated: result.rows.length > longestAnswer,
      execution_time_ms: Math.round(elapsed * 1000) / 1000,
      fields: names.map((name, index) => ({
        name,
        data_type: types.rows[index]?.[0] ?? "unknown",
      })),
    };
  } catch (error) {
    if (received > largestAnswerBytes) {
      throw new ApiError(
        "QUERY_EXECUTION_ERROR",
        `The answer is larger than ${largestAnswerBytes / 1024 / 1024} MiB; select fewer columns or rows.`,
      );
    }
    throw refusal(error, prefix.length, context.statementMs);
  } finally {
    // Closing the connection rolls back and takes the session's settings and locks with it.
    client.release(true);
  }
}

/** Extended protocol also without parameters, rows as lists, and values as they are below. */
const plainly = {
  queryMode: "extended",
  rowMode: "array",
  types: { getTypeParser: (type: number) => readers.get(type) ?? ((text: string) => text) },
} as const;

/** A number where JSON has one for it: NaN and infinities stay text. */
const readFloat = (text: string): unknown => {
  const value = Number(text);
  return Number.isFinite(value) ? value : text;
};
const readJson = (text: string): unknown => JSON.parse(text);

/**
 * By type id: boolean, smallint, integer, real, double precision, json, jsonb. Everything else is
 * answered as PostgreSQL writes it, bigint and numeric too: JSON's readers would lose digits.
 */
const readers = new Map<number, (text: string) => unknown>([
  [16, (text) => text === "t"],
  [21, Number],
  [23, Number],
  [700, readFloat],
  [701, readFloat],
  [114, readJson],
  [3802, readJson],
]);

/** SQLSTATEs of what may not be done, rather than of what went wrong. */
const notAllowed = new Map([
  ["25006", "The statement would change something; queries may only read."],
  ["0A000", "This kind of statement is not allowed here; queries may only read."],
  ["42P11", "This kind of statement is not allowed here; queries may only read."],
  ["42501", "The query touches something that queries may not read."],
]);

function refusal(error: unknown, prefixLength: number, limitMs: number): Error {
  if (!(error instanceof DatabaseError) || isEndOfConnection(error)) {
    return new ConnectionLost(error);
  }
  const position = Number(error.position) - prefixLength;
  const details = {
    sqlstate: error.code,
    message: error.message,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(position > 0 ? { position } : {}),
  };
  // PostgreSQL gives several statements the SQLSTATE of any syntax error; the function that
  // refuses them does not depend on the language of its messages.
  const isSeveral = error.code === "42601" && error.routine === "exec_parse_message";
  const reason = isSeveral
    ? "Only one statement at a time is allowed."
    : notAllowed.get(error.code ?? "");
  if (reason !== undefined) return new ApiError("QUERY_NOT_ALLOWED", reason, { details });
  // 57014: cancelled, by the time limit.
  const what =
    error.code === "57014" ? `The query took longer than ${limitMs / 1000} s.` : error.message;
  return new ApiError("QUERY_EXECUTION_ERROR", what, { details });
}

/** The text from its first word on; comments of SQL nest. */
function withoutLeadingComments(sql: string): string {
  let rest = sql;
  for (;;) {
    rest = rest.trimStart();
    if (rest.startsWith("--")) {
      const end = rest.indexOf("\n");
      rest = end === -1 ? "" : rest.slice(end + 1);
    } else if (rest.startsWith("/*")) {
      let depth = 0;
      let at = 0;
      do {
        if (rest.startsWith("/*", at)) depth += 1;
        else if (rest.startsWith("*/", at)) depth -= 1;
        else {
          at += 1;
          continue;
        }
        at += 2;
      } while (depth > 0 && at < rest.length);
      rest = rest.slice(at);
    } else return rest;
  }
}
