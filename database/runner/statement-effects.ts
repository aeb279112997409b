import type { Client } from "pg";

/** What a lock makes wait. */
type Blocks = "reads and writes" | "writes" | "schema changes";

/** A lock that a statement takes on a relation which was there before its file. */
export interface TakenLock {
  /** Qualified name. */
  relation: string;
  /** "AccessExclusiveLock" … */
  mode: string;
  blocks: Blocks;
}

/** What a statement did to relations that were there before its file. */
export interface StatementEffects {
  /** Locks stronger than those that earlier statements of the file hold on to. */
  locks: TakenLock[];
  /** Tables written anew as a whole. */
  rewrites: string[];
  /** Tables read as a whole. */
  scans: string[];
}

/**
 * Weakest first, from 13 to 18: which modes stop INSERT, UPDATE and DELETE, and which stop SELECT as well
 * (https://www.postgresql.org/docs/current/explicit-locking.html). Weaker modes stop no work.
 */
const blocking: Record<string, Blocks> = {
  ShareUpdateExclusiveLock: "schema changes",
  ShareLock: "writes",
  ShareRowExclusiveLock: "writes",
  ExclusiveLock: "writes",
  AccessExclusiveLock: "reads and writes",
};

interface Relation {
  name: string;
  /** File of the data: another one after a rewrite. */
  node: string | null;
  scans: number;
}

/**
 * Watches, from inside a file's transaction, what each statement does: the locks it holds are the
 * locks it would take on the real database, whatever the size of the tables.
 */
export class EffectWatch {
  readonly #client: Client;
  readonly #before: Map<string, Relation>;
  #last: Map<string, Relation>;
  /** The strongest lock that the file holds on each relation. */
  readonly #held = new Map<string, string>();

  private constructor(client: Client, before: Map<string, Relation>) {
    this.#client = client;
    this.#before = before;
    this.#last = before;
  }

  /** Begins with what is there now. */
  static async start(client: Client): Promise<EffectWatch> {
    return new EffectWatch(client, await readRelations(client));
  }

  /** What happened since the start or the last call. */
  async effects(): Promise<StatementEffects> {
    const now = await readRelations(this.#client);
    const rewrites: string[] = [];
    const scans: string[] = [];
    for (const [oid, { name }] of this.#before) {
      const before = this.#last.get(oid);
      const after = now.get(oid);
      if (before === undefined || after === undefined) continue;
      if (after.node !== before.node) rewrites.push(name);
      else if (after.scans > before.scans) scans.push(name);
    }
    this.#last = now;
    return { locks: await this.#newLocks(), rewrites, scans };
  }

  async #newLocks(): Promise<TakenLock[]> {
    const { rows } = await this.#client.query<{ oid: string; mode: string }>(
      `SELECT relation::text AS oid, mode FROM pg_locks
        WHERE locktype = 'relation' AND pid = pg_backend_pid() AND granted
        ORDER BY relation, mode`,
    );
    const locks = new Map<string, TakenLock>();
    for (const { oid, mode } of rows) {
      const relation = this.#before.get(oid)?.name;
      const blocks = blocking[mode];
      if (relation === undefined || blocks === undefined) continue;
      if (strength(mode) <= strength(this.#held.get(oid))) continue;
      this.#held.set(oid, mode);
      locks.set(oid, { relation, mode, blocks });
    }
    return [...locks.values()];
  }
}

/**
 * What a statement does that runs outside a transaction, and so cannot be watched: as the manual
 * says of CREATE INDEX CONCURRENTLY; of others nothing is known.
 */
export function effectsOutsideTransaction(
  head: readonly string[],
  table: string | null,
): StatementEffects {
  if (table === null || head[0] !== "CREATE" || !head.includes("CONCURRENTLY")) {
    return { locks: [], rewrites: [], scans: [] };
  }
  return {
    locks: [{ relation: table, mode: "ShareUpdateExclusiveLock", blocks: "schema changes" }],
    rewrites: [],
    scans: [table],
  };
}

/** Position in the order of strength; -1 for no lock. */
function strength(mode: string | undefined): number {
  return mode === undefined ? -1 : Object.keys(blocking).indexOf(mode);
}

async function readRelations(client: Client): Promise<Map<string, Relation>> {
  // Tables and materialised views, and indexes, whose locks come alone with REINDEX and DROP INDEX.
  const { rows } = await client.query<Relation & { oid: string }>(
    `SELECT c.oid::text, format('%I.%I', n.nspname, c.relname) AS name,
            pg_relation_filenode(c.oid)::text AS node,
            coalesce(pg_stat_get_xact_numscans(c.oid), 0)::integer AS scans
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND c.relkind IN ('r', 'p', 'm') AND c.relname <> ALL ($1)`,
    [["schema_migrations", "schema_repeatables"]],
  );
  return new Map(rows.map(({ oid, ...relation }) => [oid, relation]));
}
