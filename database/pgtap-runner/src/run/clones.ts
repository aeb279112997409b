import { randomBytes } from "node:crypto";
import { RunnerError, messageOf } from "../errors.ts";
import { quoteIdentifier, quoteLiteral } from "../psql/scanner.ts";
import { Administrator } from "../server/administrator.ts";
import type { ConnectionSettings } from "../server/connection-settings.ts";
import { ConnectionLost, Session, SqlError } from "../server/session.ts";

const prefix = "pgtap_runner_";
const sqlState = {
  insufficientPrivilege: "42501",
  objectInUse: "55006",
  noSuchDatabase: "3D000",
} as const;

/** What CREATE DATABASE … TEMPLATE does not copy, as statements to repeat on the copy. */
interface TemplateExtras {
  owner: string;
  /** With `%I` in place of the database's name. */
  statements: readonly string[];
}

/**
 * The throw-away copies of the tested database. Their names carry the run's identifier, and the
 * run's connections carry it too: copies whose run has no connection any more are left-overs of a
 * run that was killed, and the next run removes them.
 */
export class Clones {
  readonly #administrator: Administrator;
  readonly #template: string;
  readonly #run: string;
  readonly #extras: TemplateExtras;
  readonly #names = new Set<string>();
  readonly #sweeper: Sweeper;
  #count = 0;

  private constructor(
    administrator: Administrator,
    template: string,
    run: string,
    extras: TemplateExtras,
    sweeper: Sweeper,
  ) {
    this.#sweeper = sweeper;
    this.#administrator = administrator;
    this.#template = template;
    this.#run = run;
    this.#extras = extras;
  }

  /**
   * @throws RunnerError `connection-failed`; `database-missing` when there is nothing to copy
   */
  static async open(settings: ConnectionSettings): Promise<Clones> {
    const run = randomBytes(4).toString("hex");
    const administrator = await Administrator.connect(settings, `pgtap-runner ${run}`);
    try {
      const extras = await readExtras(administrator, settings.database);
      return new Clones(administrator, settings.database, run, extras, new Sweeper(administrator));
    } catch (error) {
      await administrator.close();
      throw error;
    }
  }

  get administrator(): Administrator {
    return this.#administrator;
  }

  /** Names of the copies that exist. */
  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** A database is to be used in place of the tested one from now on: it has been prepared. */
  derive(template: string): Clones {
    const derived = new Clones(
      this.#administrator,
      template,
      this.#run,
      this.#extras,
      this.#sweeper,
    );
    derived.#count = this.#count;
    for (const name of this.#names) derived.#names.add(name);
    return derived;
  }

  /**
   * Makes a copy.
   *
   * @throws RunnerError `clone-refused` saying what the server needs; ConnectionLost
   */
  async create(): Promise<string> {
    this.#count += 1;
    const name = `${prefix}${this.#run}_${this.#count}`;
    const create = `CREATE DATABASE ${name} TEMPLATE ${quoteIdentifier(this.#template)}`;
    this.#names.add(name);
    try {
      await this.#administrator.use(async (session) => {
        try {
          await session.rows(`${create} OWNER ${quoteIdentifier(this.#extras.owner)}`);
        } catch (error) {
          if (!hasState(error, sqlState.insufficientPrivilege)) throw error;
          // We may copy the database, but not give the copy away.
          await session.rows(create);
        }
        for (const statement of this.#extras.statements) {
          await session.rows(statement.replaceAll("%I", name));
        }
      });
      this.#sweeper.start();
      return name;
    } catch (error) {
      // Only when the connection broke may the copy have come to be all the same.
      if (!(error instanceof ConnectionLost)) this.#names.delete(name);
      throw explain(error, this.#template);
    }
  }

  /** Drops a copy, whoever is connected to it. */
  async drop(name: string): Promise<void> {
    await dropDatabase(this.#administrator, name);
    this.#names.delete(name);
  }

  /**
   * Drops every copy and disconnects.
   *
   * @returns the copies that could not be dropped, with the reason
   */
  async close(): Promise<string[]> {
    await this.#sweeper.done();
    // All at once: each drop waits for a checkpoint, and these are shared.
    await Promise.allSettled([...this.#names].map((name) => this.drop(name)));
    const failures: string[] = [];
    // What failed may have failed for want of connections: now one after the other.
    for (const name of this.#names) {
      try {
        await this.drop(name);
      } catch (error) {
        failures.push(`database ${name} was not dropped: ${messageOf(error)}`);
      }
    }
    await this.#administrator.close();
    return failures;
  }
}

function hasState(error: unknown, state: string): boolean {
  return error instanceof SqlError && error.server.code === state;
}

function explain(error: unknown, template: string): unknown {
  if (!(error instanceof SqlError)) return error;
  const message = `database ${template} cannot be copied: ${error.server.message}`;
  const next = hasState(error, sqlState.objectInUse)
    ? "close the other connections to it, or run in it without copies: --in-place"
    : hasState(error, sqlState.insufficientPrivilege)
      ? "connect as its owner with CREATEDB, or as a superuser, or run in it: --in-place"
      : undefined;
  return new RunnerError("clone-refused", message, {
    ...(next === undefined ? {} : { next }),
    cause: error,
  });
}

async function readExtras(administrator: Administrator, database: string): Promise<TemplateExtras> {
  const name = quoteLiteral(database);
  const rows = await administrator.rows(
    `SELECT 'owner', pg_get_userbyid(datdba), NULL FROM pg_database WHERE datname = ${name};
     SELECT 'statement', format(
       'ALTER %s SET %I TO %s',
       CASE WHEN s.setrole = 0 THEN 'DATABASE %I'
            ELSE format('ROLE %I IN DATABASE %%I', pg_get_userbyid(s.setrole)) END,
       split_part(c, '=', 1),
       -- Lists were quoted when they were stored; quoting them again would make them one word.
       CASE WHEN lower(split_part(c, '=', 1)) IN ('search_path', 'temp_tablespaces',
                   'session_preload_libraries', 'local_preload_libraries')
            THEN CASE WHEN substr(c, strpos(c, '=') + 1) = '' THEN '''''' ELSE substr(c, strpos(c, '=') + 1) END
            ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END), NULL
     FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
     WHERE d.datname = ${name};
     SELECT 'statement', format('GRANT %s ON DATABASE %%I TO %s%s', a.privilege_type,
              CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
              CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), 'acl'
     FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = ${name}`,
  );
  const owner = rows.find(([kind]) => kind === "owner")?.[1];
  if (owner === undefined || owner === null) {
    throw new RunnerError("database-missing", `there is no database "${database}"`, {
      exitCode: 2,
      next: "name the tested database with -d, PGDATABASE or --url",
    });
  }
  const statements = rows.flatMap(([kind, text]) =>
    kind === "statement" && text !== null && text !== undefined ? [text] : [],
  );
  // The list of privileges is the whole truth, once there is one: PUBLIC's defaults go first.
  const hasPrivileges = rows.some(([, , note]) => note === "acl");
  return {
    owner,
    statements: hasPrivileges
      ? ["REVOKE ALL ON DATABASE %I FROM PUBLIC", ...statements]
      : statements,
  };
}

/**
 * Removes what other runs left, once, when the first copy is made: until then there is one
 * connection, and everything waits for that copy.
 */
class Sweeper {
  readonly #administrator: Administrator;
  #sweeping: Promise<void> | undefined;

  constructor(administrator: Administrator) {
    this.#administrator = administrator;
  }

  start(): void {
    // What stands in its way is in nobody's way here.
    this.#sweeping ??= sweep(this.#administrator).catch(() => undefined);
  }

  async done(): Promise<void> {
    await this.#sweeping;
  }
}

/** Removes the copies of runs that are no more. */
async function sweep(administrator: Administrator): Promise<void> {
  const rows = await administrator.rows(
    `SELECT d.datname FROM pg_database d
     WHERE d.datname ~ '^${prefix}[0-9a-f]{8}_[0-9]+$'
       AND pg_has_role(d.datdba, 'MEMBER')
       AND NOT EXISTS (
         SELECT FROM pg_stat_activity a
         WHERE a.application_name = 'pgtap-runner ' || substr(d.datname, ${prefix.length + 1}, 8))`,
  );
  for (const [name] of rows) await dropDatabase(administrator, name ?? "");
}

async function dropDatabase(administrator: Administrator, name: string): Promise<void> {
  const statement = `DROP DATABASE IF EXISTS ${quoteIdentifier(name)} WITH (FORCE)`;
  try {
    await administrator.rows(statement);
  } catch (error) {
    if (!hasState(error, sqlState.objectInUse)) throw error;
    await removeObstacles(administrator, name);
    await administrator.rows(statement);
  }
}

/** Prepared transactions and replication slots keep a database from being dropped. */
async function removeObstacles(administrator: Administrator, database: string): Promise<void> {
  const name = quoteLiteral(database);
  const slots = await administrator.rows(
    `SELECT slot_name FROM pg_replication_slots WHERE database = ${name}`,
  );
  for (const [slot] of slots) {
    await administrator.rows(`SELECT pg_drop_replication_slot(${quoteLiteral(slot ?? "")})`);
  }
  const prepared = await administrator.rows(
    `SELECT gid FROM pg_prepared_xacts WHERE database = ${name}`,
  );
  if (prepared.length === 0) return;
  const session = await Session.connect(administrator.settings, database, "pgtap-runner");
  try {
    for (const [gid] of prepared)
      await session.rows(`ROLLBACK PREPARED ${quoteLiteral(gid ?? "")}`);
  } finally {
    await session.close();
  }
}
