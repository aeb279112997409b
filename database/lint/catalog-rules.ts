/** A property that every schema of ours has, and the query for objects that lack it. */
export interface CatalogRule {
  name: string;
  level: "error" | "warning";
  /** What is wrong with one object; follows its name. */
  message: string;
  /** What to do. */
  help: string;
  /** Oldest server to which it applies, as server_version_num. Default: all. */
  since?: number;
  /**
   * Returns `object`, qualified. Reads `relations`, `routines` and `keys` of `catalogRuleViews`.
   */
  sql: string;
}

/** Read in front of each rule's query: the objects of ours, without those of extensions. */
export const catalogRuleViews = `
WITH schemas AS (
  SELECT oid, nspname FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
relations AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS object
  FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace
  WHERE NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
),
routines AS (
  SELECT p.*, p.oid::regprocedure::text AS object
  FROM pg_proc p JOIN schemas n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
)`;

export const catalogRules: readonly CatalogRule[] = [
  {
    name: "row-security-without-policy",
    level: "error",
    message: "has row security and no policy, so nobody but a superuser sees a row",
    help: "write a policy for each role that may see rows, the owner included",
    sql: `SELECT object FROM relations r WHERE relrowsecurity
            AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid)`,
  },
  {
    name: "row-security-not-forced",
    level: "error",
    message: "has row security that its owner bypasses",
    help: "ALTER TABLE … FORCE ROW LEVEL SECURITY, with a policy for the owner",
    sql: "SELECT object FROM relations WHERE relrowsecurity AND NOT relforcerowsecurity",
  },
  {
    name: "policy-without-row-security",
    level: "error",
    message: "has policies and no row security, so they do nothing",
    help: "ALTER TABLE … ENABLE ROW LEVEL SECURITY",
    sql: `SELECT object FROM relations r WHERE NOT relrowsecurity
            AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid)`,
  },
  {
    name: "view-without-security-invoker",
    level: "error",
    message: "reads with the rights of its owner, past the row security of whoever asks",
    help: "ALTER VIEW … SET (security_invoker = true)",
    since: 150_000,
    sql: `SELECT object FROM relations r WHERE relkind = 'v'
            AND NOT EXISTS (SELECT FROM pg_options_to_table(r.reloptions) o
                            WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)`,
  },
  {
    name: "materialized-view-of-guarded-table",
    level: "error",
    message: "keeps a copy of rows of a table with row security, which it does not have itself",
    help: "leave that table out, or make it a view",
    sql: `SELECT DISTINCT r.object FROM relations r
            JOIN pg_rewrite w ON w.ev_class = r.oid
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
                            AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.oid
            JOIN pg_class t ON t.oid = d.refobjid AND t.relrowsecurity
           WHERE r.relkind = 'm'`,
  },
  {
    name: "security-definer-without-search-path",
    level: "error",
    message: "runs with its owner's rights and with the caller's search_path",
    help: "add SET search_path = pg_catalog, public, pg_temp",
    sql: `SELECT object FROM routines WHERE prosecdef
            AND NOT EXISTS (SELECT FROM unnest(proconfig) s WHERE s LIKE 'search_path=%')`,
  },
  {
    name: "security-definer-with-temporary-objects",
    level: "error",
    message: "runs with its owner's rights and finds the caller's temporary tables first",
    help: "end its search_path with pg_temp, or leave it empty and qualify every name",
    sql: `SELECT object FROM routines, unnest(proconfig) s
           WHERE prosecdef AND s LIKE 'search_path=%'
             AND s !~ '(^search_path=(""|pg_catalog)?|[, ]"?pg_temp"?)$'`,
  },
  {
    name: "granted-to-public",
    level: "error",
    message: "is open to every role",
    help: "REVOKE ALL … FROM PUBLIC, then grant to the roles that need it",
    // A trigger's function cannot be called; who may create triggers may do worse.
    sql: `SELECT object FROM relations, aclexplode(relacl) a WHERE a.grantee = 0
          UNION
          SELECT format('%s.%I', r.object, c.attname) FROM relations r
            JOIN pg_attribute c ON c.attrelid = r.oid, aclexplode(c.attacl) a WHERE a.grantee = 0
          UNION
          SELECT object FROM routines, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
           WHERE a.grantee = 0
             AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)`,
  },
  {
    name: "foreign-key-without-index",
    level: "error",
    message: "has no index on its columns, so deleting the row it points to reads the whole table",
    help: "create an index that begins with the foreign key's columns",
    // The clone of a partitioned table's key on each partition has that partition's index.
    sql: `SELECT format('%s.%I', r.object, k.conname) AS object
            FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
           WHERE k.contype = 'f' AND k.conparentid = 0
             AND NOT EXISTS (
               SELECT FROM pg_index i
                WHERE i.indrelid = k.conrelid AND i.indisvalid
                  AND (i.indpred IS NULL
                       OR pg_get_expr(i.indpred, i.indrelid) ~ '^\\(\\w+ IS NOT NULL\\)$')
                  AND (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)`,
  },
  {
    name: "timestamp-without-time-zone",
    level: "error",
    message: "is a time without a zone, which means another moment on another machine",
    help: "use timestamptz",
    sql: `SELECT format('%s.%I', r.object, c.attname) AS object
            FROM relations r JOIN pg_attribute c ON c.attrelid = r.oid
           WHERE r.relkind IN ('r', 'p', 'v', 'm') AND c.attnum > 0 AND NOT c.attisdropped
             AND c.atttypid IN ('timestamp'::regtype, 'timestamp[]'::regtype,
                                'time'::regtype, 'time[]'::regtype)`,
  },
  {
    name: "table-without-primary-key",
    level: "error",
    message: "has no primary key, so no row of it can be named",
    help: "add one",
    sql: `SELECT object FROM relations r WHERE relkind IN ('r', 'p')
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = r.oid AND k.contype = 'p')`,
  },
  {
    name: "invalid-index",
    level: "error",
    message: "is invalid: it costs every write and serves no query",
    help: "DROP INDEX CONCURRENTLY, then build it again",
    sql: `SELECT object FROM relations r JOIN pg_index i ON i.indexrelid = r.oid
           WHERE NOT i.indisvalid`,
  },
  {
    name: "constraint-not-validated",
    level: "error",
    message: "is not validated, so rows from before may break it",
    help: "ALTER TABLE … VALIDATE CONSTRAINT in a file after the one that added it",
    sql: `SELECT format('%s.%I', r.object, k.conname) AS object
            FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid WHERE NOT k.convalidated`,
  },
  {
    name: "duplicate-index",
    level: "warning",
    message: "says the same as another index of its table",
    help: "drop one of them",
    sql: `SELECT max(r.object) AS object FROM relations r JOIN pg_index i ON i.indexrelid = r.oid
           GROUP BY i.indrelid, i.indkey::text, i.indclass::text, i.indcollation::text,
                    i.indoption::text, pg_get_expr(i.indexprs, i.indrelid),
                    pg_get_expr(i.indpred, i.indrelid), i.indisunique, r.relam
          HAVING count(*) > 1`,
  },
];
