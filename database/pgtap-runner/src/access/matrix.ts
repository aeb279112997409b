import { RunnerError } from "../errors.ts";
import { quoteLiteral } from "../psql/scanner.ts";
import { Clones } from "../run/clones.ts";
import {
  type ConnectionOptions,
  type ConnectionSettings,
  resolveConnection,
} from "../server/connection-settings.ts";
import { Session, SqlError } from "../server/session.ts";
import { type CatalogObject, type ObjectKind, readObjects } from "./catalog.ts";
import {
  type AccessDeclaration,
  type Actor,
  type Command,
  type ObjectDeclaration,
  type Outcome,
  checkDeclaration,
} from "./declaration.ts";

/** What one actor gets from one command on one object. */
export interface AccessCell {
  actor: string;
  command: Command;
  expected: Outcome;
  found: Outcome;
  agrees: boolean;
  /** The server's words, where it refused or failed. */
  message: string | undefined;
}

export interface AccessObject {
  name: string;
  kind: ObjectKind;
  commands: readonly Command[];
  /** The key of the declaration that covers it; undefined when none does. */
  declaredAs: string | undefined;
  cells: readonly AccessCell[];
}

export interface AccessResult {
  title: string;
  actors: Readonly<Record<string, Actor>>;
  objects: readonly AccessObject[];
  /** Everything that is not as declared, one line each. */
  problems: readonly string[];
  passed: boolean;
  counts: { cells: number; wrong: number; attempts: number };
  durationMs: number;
}

export interface AccessOptions {
  declaration: AccessDeclaration;
  connection?: ConnectionOptions;
  /** `clones` (default): on a copy of the database. `in-place`: in itself, rolled back. */
  isolation?: "clones" | "in-place" | undefined;
}

/** One statement that one actor tries, and the part of a cell that it decides. */
interface Attempt {
  actor: Actor;
  statement: string;
  settle: (answer: Answer) => void;
}

interface Answer {
  rows: number;
  /** SQLSTATE, or undefined when it went through. */
  state: string | undefined;
  message: string | undefined;
}

/** Statements sent at once: their answers come together. */
const batchSize = 200;

/**
 * Tries every actor on every object with every command, on a copy of the database, and compares
 * what each reaches with the declaration.
 *
 * @throws RunnerError `bad-declaration`, `setup-failed` or one of the connection
 */
export async function checkAccess(options: AccessOptions): Promise<AccessResult> {
  const startedAt = performance.now();
  const declaration = checkDeclaration(options.declaration);
  const settings = resolveConnection(options.connection);
  if (options.isolation === "in-place") {
    return checkIn(settings, settings.database, declaration, startedAt);
  }
  const clones = await Clones.open(settings);
  try {
    return await checkIn(settings, await clones.create(), declaration, startedAt);
  } finally {
    await clones.close();
  }
}

async function checkIn(
  settings: ConnectionSettings,
  database: string,
  declaration: AccessDeclaration,
  startedAt: number,
): Promise<AccessResult> {
  const session = await Session.connect(settings, database, "pgtap-runner");
  try {
    const { objects, problems, attempts } = await tryEverything(session, declaration);
    const cells = objects.flatMap((object) => object.cells);
    const wrong = cells.filter((cell) => !cell.agrees).length;
    return {
      title: declaration.title ?? "Who may do what",
      actors: declaration.actors,
      objects,
      problems,
      passed: problems.length === 0,
      counts: { cells: cells.length, wrong, attempts },
      durationMs: performance.now() - startedAt,
    };
  } finally {
    await session.close();
  }
}

async function tryEverything(
  session: Session,
  declaration: AccessDeclaration,
): Promise<{ objects: AccessObject[]; problems: string[]; attempts: number }> {
  await session.rows("BEGIN");
  await session.rows(attemptFunction);
  await setUp(session, declaration.setup);
  const schemas = declaration.schemas ?? ["public"];
  const catalog = await readObjects(session, schemas);
  const problems: string[] = [];
  const used = new Set<string>();
  const objects: AccessObject[] = [];
  let attempts = 0;
  for (const object of catalog) {
    const name = object.schema === "public" ? object.name : `${object.schema}.${object.name}`;
    const key = findKey(Object.keys(declaration.objects), name);
    if (key === undefined) {
      problems.push(`${object.kind} ${name} is not declared`);
    } else used.add(key);
    const declared: ObjectDeclaration =
      (key === undefined ? undefined : declaration.objects[key]) ?? {};
    const labels = await labelledRows(session, object, declared);
    for (const label of labels.missing) {
      if (key?.endsWith("*") === true) continue;
      problems.push(`${name}: no row is labelled ${label}, so nothing shows who reaches it`);
    }
    const reach = await readReach(session, object, declaration.actors);
    const planned = planObject(object, declared, labels.present, declaration.actors, reach);
    await carryOut(session, planned.attempts);
    attempts += planned.attempts.length;
    const cells = planned.cells.map((cell) => cell.conclude());
    for (const cell of cells) {
      if (cell.agrees) continue;
      problems.push(
        `${name}: ${cell.actor} ${cell.command}: expected ${formatOutcome(cell.expected)}, found ${formatOutcome(cell.found)}${cell.message === undefined ? "" : ` (${cell.message})`}`,
      );
    }
    objects.push({ name, kind: object.kind, commands: object.commands, declaredAs: key, cells });
  }
  for (const key of Object.keys(declaration.objects)) {
    // A pattern may stand for nothing: the partitions of a log, before there are any.
    if (!used.has(key) && !key.endsWith("*"))
      problems.push(`${key} is declared, but there is no such object`);
  }
  await session.rows("ROLLBACK");
  return { objects, problems, attempts };
}

async function setUp(session: Session, sql: string | undefined): Promise<void> {
  if (sql === undefined || sql.trim() === "") return;
  try {
    await session.rows(sql);
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    const { position, message } = error.server;
    const line =
      position === undefined ? "" : ` in line ${sql.slice(0, position).split("\n").length}`;
    throw new RunnerError("setup-failed", `the declaration's setup${line}: ${message}`, {
      cause: error,
    });
  }
}

/** The key that names an object itself, or else the longest pattern that covers it. */
function findKey(keys: readonly string[], name: string): string | undefined {
  if (keys.includes(name)) return name;
  const patterns = keys.filter((key) => key.endsWith("*") && name.startsWith(key.slice(0, -1)));
  return patterns.toSorted((a, b) => b.length - a.length)[0];
}

/** Conditions by label, of rows that are there. */
interface Labels {
  present: Map<string, string>;
  missing: string[];
}

async function labelledRows(
  session: Session,
  object: CatalogObject,
  declared: ObjectDeclaration,
): Promise<Labels> {
  const present = new Map<string, string>();
  const missing: string[] = [];
  const source = object.kind === "function" ? declared.call : object.sql;
  if (source === undefined) return { present, missing };
  const from = object.kind === "function" ? `(${source}) answer` : source;
  const named = Object.entries(declared.rows ?? {});
  const count = async (condition: string): Promise<number> => {
    const [row] = await session.rows(`SELECT count(*) FROM ${from} WHERE ${condition}`);
    return Number(row?.[0] ?? 0);
  };
  for (const [label, condition] of named) {
    if ((await count(`(${condition})`)) > 0) present.set(label, `(${condition})`);
    else missing.push(label);
  }
  if (object.kind === "function" && named.length === 0) return { present, missing };
  const any = [...present.values()].map((condition) => `${condition} IS TRUE`).join(" OR ");
  const others = any === "" ? "true" : `NOT (${any})`;
  if ((await count(others)) > 0) present.set("others", others);
  return { present, missing };
}

/** A cell in the making: it gathers the answers of its attempts. */
class CellInProgress {
  readonly #actor: string;
  readonly #command: Command;
  readonly #expected: Outcome;
  readonly #labels: readonly string[];
  readonly #reached: string[] = [];
  /** Going through shows nothing but that it is allowed. */
  readonly #bare: boolean;
  #wentThrough = false;
  #refusal: string | undefined;
  #failure: { state: string; message: string | undefined } | undefined;

  constructor(
    actor: string,
    command: Command,
    expected: Outcome,
    labels: readonly string[],
    bare: boolean,
  ) {
    this.#actor = actor;
    this.#command = command;
    this.#expected = expected;
    this.#labels = labels;
    this.#bare = bare;
  }

  answer(label: string, answer: Answer): void {
    const { state, message, rows } = answer;
    if (state === undefined) {
      this.#wentThrough = true;
      if (rows > 0) this.#reached.push(label);
    } else if (state === "42501") this.#refusal = message;
    else if (isPastTheGuard(state, this.#command)) {
      this.#wentThrough = true;
      this.#reached.push(label);
    } else this.#failure = { state, message };
  }

  conclude(): AccessCell {
    const found = this.#found();
    const denied = found === "denied";
    const failed = typeof found === "string" && found.startsWith("error ");
    return {
      actor: this.#actor,
      command: this.#command,
      expected: this.#expected,
      found,
      agrees: sameOutcome(this.#expected, found, this.#labels),
      message: denied ? this.#refusal : failed ? this.#failure?.message : undefined,
    };
  }

  #found(): Outcome {
    if (this.#failure !== undefined) return `error ${this.#failure.state}`;
    if (this.#bare) return this.#wentThrough ? "allowed" : "denied";
    if (this.#reached.length > 0) {
      return this.#reached.length === this.#labels.length && this.#command !== "insert"
        ? "all"
        : this.#reached;
    }
    if (this.#refusal !== undefined) return "denied";
    return "none";
  }
}

/**
 * Errors that come after every privilege and policy has been passed: a constraint that is violated,
 * a TRUNCATE that other tables' keys forbid.
 */
function isPastTheGuard(state: string, command: Command): boolean {
  return state.startsWith("23") || (command === "truncate" && state === "0A000");
}

function sameOutcome(expected: Outcome, found: Outcome, labels: readonly string[]): boolean {
  const asLabels = (outcome: Outcome): readonly string[] | string => {
    if (outcome === "all") return labels.toSorted();
    if (outcome === "none") return [];
    // A label of a row that is not there can be reached by nobody.
    if (typeof outcome !== "string")
      return outcome.filter((label) => labels.includes(label)).toSorted();
    return outcome;
  };
  return JSON.stringify(asLabels(expected)) === JSON.stringify(asLabels(found));
}

export function formatOutcome(outcome: Outcome): string {
  return typeof outcome === "string" ? outcome : outcome.join(", ");
}

/** What an actor's role may do with an object, as far as that decides what there is to try. */
interface Reach {
  /** A column that it may set, and whether it may also read it. */
  column: string | undefined;
  readable: boolean;
  mayExecute: boolean;
}

async function readReach(
  session: Session,
  object: CatalogObject,
  actors: AccessDeclaration["actors"],
): Promise<Map<string, Reach>> {
  const roles = [...new Set(Object.values(actors).map((actor) => actor.role))];
  const list = roles.map((role) => quoteLiteral(role)).join(", ");
  if (object.kind === "function") {
    const rows = await session.rows(
      `SELECT role, has_function_privilege(role, ${object.oid}::oid, 'EXECUTE')
       FROM unnest(ARRAY[${list}]) role`,
    );
    return new Map(
      rows.map(([role, may]) => [
        role ?? "",
        { column: undefined, readable: false, mayExecute: may === "t" },
      ]),
    );
  }
  const rows = await session.rows(
    `SELECT role, c.name, c.readable FROM unnest(ARRAY[${list}]) role LEFT JOIN LATERAL (
       SELECT quote_ident(attname) AS name,
         has_column_privilege(role, attrelid, attnum, 'SELECT') AS readable
       FROM pg_attribute
       WHERE attrelid = ${object.oid} AND attnum > 0 AND NOT attisdropped
         AND attgenerated = '' AND attidentity <> 'a'
         AND has_column_privilege(role, attrelid, attnum, 'UPDATE')
       ORDER BY readable DESC, attnum LIMIT 1) c ON true`,
  );
  return new Map(
    rows.map(([role, column, readable]) => [
      role ?? "",
      { column: column ?? undefined, readable: readable === "t", mayExecute: false },
    ]),
  );
}

function planObject(
  object: CatalogObject,
  declared: ObjectDeclaration,
  rows: ReadonlyMap<string, string>,
  actors: AccessDeclaration["actors"],
  reach: ReadonlyMap<string, Reach>,
): { cells: CellInProgress[]; attempts: Attempt[] } {
  const cells: CellInProgress[] = [];
  const attempts: Attempt[] = [];
  const labelled = Object.keys(declared.rows ?? {}).length > 0;
  for (const [name, actor] of Object.entries(actors)) {
    const may = reach.get(actor.role);
    for (const command of object.commands) {
      const statements = statementsOf(object, declared, rows, command, may);
      const expected = declared.expect?.[name]?.[command] ?? "denied";
      const bare = command === "truncate" || (command === "execute" && !labelled);
      // Of no rows, all are none.
      const labels = command === "insert" ? statements.keys() : rows.keys();
      const cell = new CellInProgress(name, command, expected, [...labels], bare);
      cells.push(cell);
      if (command === "execute" && declared.call === undefined) {
        const state = may?.mayExecute === true ? undefined : "42501";
        cell.answer("", { rows: 0, state, message: "no EXECUTE privilege" });
        continue;
      }
      for (const [label, statement] of statements) {
        attempts.push({ actor, statement, settle: (answer) => cell.answer(label, answer) });
      }
    }
  }
  return { cells, attempts };
}

/** The statements to try, by the label of the rows that each is after. */
function statementsOf(
  object: CatalogObject,
  declared: ObjectDeclaration,
  rows: ReadonlyMap<string, string>,
  command: Command,
  may: Reach | undefined,
): Map<string, string> {
  const { sql } = object;
  // A table without rows is tried as well: that shows whether it may be touched at all.
  const conditions = rows.size === 0 ? new Map([["others", "true"]]) : rows;
  const perLabel = (make: (condition: string) => string): Map<string, string> =>
    new Map([...conditions].map(([label, condition]) => [label, make(condition)]));
  switch (command) {
    case "select":
      return perLabel((condition) => `SELECT FROM ${sql} WHERE ${condition}`);
    case "update": {
      const set = declared.update ?? defaultUpdate(object, may);
      return perLabel((condition) => `UPDATE ${sql} SET ${set} WHERE ${condition}`);
    }
    case "delete":
      return perLabel((condition) => `DELETE FROM ${sql} WHERE ${condition}`);
    case "insert":
      return new Map(
        Object.entries(declared.insert ?? { new: `INSERT INTO ${sql} DEFAULT VALUES` }),
      );
    case "truncate":
      return new Map([["", `TRUNCATE ${sql}`]]);
    case "execute":
      if (declared.call === undefined || declared.rows === undefined) {
        return new Map([["", declared.call ?? ""]]);
      }
      return perLabel((condition) => `SELECT FROM (${declared.call}) answer WHERE ${condition}`);
  }
}

/** Sets a column that the role may set; where there is none, any, to be refused. */
function defaultUpdate(object: CatalogObject, may: Reach | undefined): string {
  const column = may?.column ?? object.columns[0] ?? "";
  return may?.readable === true ? `${column} = ${column}` : `${column} = DEFAULT`;
}

/**
 * Takes the role, runs the statement, and undoes both. That a role cannot be taken has the SQLSTATE
 * of a refusal, so it is told apart.
 */
const attemptFunction = `
CREATE FUNCTION pg_temp.pgtap_runner_attempt(
  as_role text, settings jsonb, statement text,
  OUT row_count bigint, OUT state text, OUT message text
) LANGUAGE plpgsql AS $attempt$
DECLARE
  ready boolean := false;
BEGIN
  BEGIN
    PERFORM set_config(key, value, true) FROM jsonb_each_text(settings);
    PERFORM set_config('role', as_role, true);
    ready := true;
    EXECUTE statement;
    GET DIAGNOSTICS row_count = ROW_COUNT;
    RAISE EXCEPTION USING ERRCODE = 'PRUND';
  EXCEPTION
    WHEN SQLSTATE 'PRUND' THEN NULL;
    WHEN OTHERS THEN
      state := CASE WHEN ready THEN SQLSTATE ELSE 'actor' END;
      message := SQLERRM;
  END;
END $attempt$`;

/** @throws RunnerError `bad-declaration` for an actor that cannot be taken on */
async function carryOut(session: Session, attempts: readonly Attempt[]): Promise<void> {
  for (let start = 0; start < attempts.length; start += batchSize) {
    const batch = attempts.slice(start, start + batchSize);
    const values = batch.map(({ actor, statement }, index) => {
      const settings = quoteLiteral(JSON.stringify(actor.settings ?? {}));
      return `(${index}, ${quoteLiteral(actor.role)}, ${settings}::jsonb, ${quoteLiteral(statement)})`;
    });
    const rows = await session.rows(
      `SELECT a.number, t.row_count, t.state, t.message
       FROM (VALUES ${values.join(", ")}) a (number, as_role, settings, statement),
         LATERAL pg_temp.pgtap_runner_attempt(a.as_role, a.settings, a.statement) t`,
    );
    for (const [number, count, state, message] of rows) {
      const attempt = batch[Number(number)];
      if (state === "actor") {
        throw new RunnerError("bad-declaration", `role ${attempt?.actor.role}: ${message}`, {
          exitCode: 2,
        });
      }
      attempt?.settle({
        rows: Number(count ?? 0),
        state: state ?? undefined,
        message: message ?? undefined,
      });
    }
  }
}
