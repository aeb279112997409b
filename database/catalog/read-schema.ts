import type { Client } from "pg";

/** A table or view with everything that is on it, for documents. */
export interface SchemaRelation {
  name: string;
  kind: "table" | "view" | "materialized view";
  comment: string | null;
  partitionedBy: string | null;
  rowSecurity: "off" | "enabled" | "forced";
  securityInvoker: boolean;
  columns: SchemaColumn[];
  constraints: { name: string; definition: string }[];
  indexes: { name: string; definition: string; comment: string | null }[];
  triggers: { name: string; definition: string; comment: string | null }[];
  policies: SchemaPolicy[];
  grants: SchemaGrant[];
  references: { table: string; columns: string[]; optional: boolean; unique: boolean }[];
}

interface SchemaColumn {
  name: string;
  type: string;
  nullable: boolean;
  default: string | null;
  comment: string | null;
  primaryKey: boolean;
}

interface SchemaPolicy {
  name: string;
  permissive: boolean;
  command: string;
  roles: string[];
  using: string | null;
  check: string | null;
  comment: string | null;
}

/** What a role may do; `columns` when not with the whole relation. */
interface SchemaGrant {
  role: string;
  privileges: string[];
  columns: string[] | null;
}

export interface SchemaRoutine {
  signature: string;
  kind: "function" | "procedure" | "trigger function";
  returns: string | null;
  definer: boolean;
  owner: string;
  execute: string[];
  comment: string | null;
}

export interface Schema {
  relations: SchemaRelation[];
  routines: SchemaRoutine[];
}

/**
 * The objects of the schema `public`, in order of name, less extensions' and partitions. What a
 * table's owner may do goes without saying and is left out.
 */
export async function readSchema(client: Client): Promise<Schema> {
  await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
  try {
    await client.query("SET LOCAL search_path = pg_catalog, public");
    const relations = await client.query<SchemaRelation>(relationsSql);
    const routines = await client.query<SchemaRoutine>(routinesSql);
    return { relations: relations.rows, routines: routines.rows };
  } finally {
    await client.query("ROLLBACK").catch(() => undefined);
  }
}

const relationsSql = `
SELECT c.relname AS name,
       CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'table' END AS kind,
       obj_description(c.oid, 'pg_class') AS comment,
       pg_get_partkeydef(c.oid) AS "partitionedBy",
       CASE WHEN c.relforcerowsecurity AND c.relrowsecurity THEN 'forced'
            WHEN c.relrowsecurity THEN 'enabled' ELSE 'off' END AS "rowSecurity",
       EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
               WHERE o.option_name = 'security_invoker' AND o.option_value::boolean) AS "securityInvoker",
       (SELECT coalesce(json_agg(json_build_object(
                 'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                 'nullable', NOT a.attnotnull, 'default', pg_get_expr(d.adbin, d.adrelid),
                 'comment', col_description(a.attrelid, a.attnum),
                 'primaryKey', coalesce(a.attnum = ANY (k.conkey), false)) ORDER BY a.attnum), '[]')
          FROM pg_attribute a
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          LEFT JOIN pg_constraint k ON k.conrelid = a.attrelid AND k.contype = 'p'
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT coalesce(json_agg(json_build_object(
                 'name', k.conname, 'definition', pg_get_constraintdef(k.oid)) ORDER BY k.contype <> 'p', k.conname), '[]')
          FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype NOT IN ('n', 't')) AS constraints,
       (SELECT coalesce(json_agg(json_build_object(
                 'name', x.relname, 'definition', pg_get_indexdef(i.indexrelid),
                 'comment', obj_description(x.oid, 'pg_class')) ORDER BY x.relname), '[]')
          FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
         WHERE i.indrelid = c.oid
           AND NOT EXISTS (SELECT FROM pg_constraint k
                           WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))) AS indexes,
       (SELECT coalesce(json_agg(json_build_object(
                 'name', t.tgname, 'definition', pg_get_triggerdef(t.oid),
                 'comment', obj_description(t.oid, 'pg_trigger')) ORDER BY t.tgname), '[]')
          FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0) AS triggers,
       (SELECT coalesce(json_agg(json_build_object(
                 'name', p.polname, 'permissive', p.polpermissive,
                 'command', CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert'
                                          WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
                 'roles', (SELECT json_agg(CASE r WHEN 0 THEN 'public' ELSE r::regrole::text END)
                             FROM unnest(p.polroles) r),
                 'using', pg_get_expr(p.polqual, p.polrelid),
                 'check', pg_get_expr(p.polwithcheck, p.polrelid),
                 'comment', obj_description(p.oid, 'pg_policy')) ORDER BY p.polname), '[]')
          FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
       (SELECT coalesce(json_agg(g ORDER BY g.role, g.columns::text NULLS FIRST), '[]') FROM (
          SELECT CASE a.grantee WHEN 0 THEN 'public' ELSE a.grantee::regrole::text END AS role,
                 json_agg(lower(a.privilege_type) ORDER BY a.privilege_type) AS privileges,
                 NULL::json AS columns
            FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner GROUP BY a.grantee
          UNION ALL
          SELECT CASE b.grantee WHEN 0 THEN 'public' ELSE b.grantee::regrole::text END,
                 json_build_array(lower(b.privilege_type)),
                 json_agg(a.attname ORDER BY a.attnum)
            FROM pg_attribute a, aclexplode(a.attacl) b
           WHERE a.attrelid = c.oid AND b.grantee <> c.relowner AND NOT a.attisdropped
           GROUP BY b.grantee, b.privilege_type) g) AS grants,
       (SELECT coalesce(json_agg(json_build_object(
                 'table', f.relname,
                 'columns', (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
                              WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey)),
                 'optional', EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                                       AND a.attnum = ANY (k.conkey) AND NOT a.attnotnull),
                 'unique', EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique
                                     AND i.indpred IS NULL
                                     AND i.indkey::smallint[] <@ k.conkey)) ORDER BY k.conname), '[]')
          FROM pg_constraint k JOIN pg_class f ON f.oid = k.confrelid
         WHERE k.conrelid = c.oid AND k.contype = 'f') AS references
  FROM pg_class c
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
   AND NOT c.relispartition
   AND NOT EXISTS (SELECT FROM pg_depend d
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY c.relname`;

const routinesSql = `
SELECT format('%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
       CASE WHEN p.prokind = 'p' THEN 'procedure'
            WHEN p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) THEN 'trigger function'
            ELSE 'function' END AS kind,
       pg_get_function_result(p.oid) AS returns,
       p.prosecdef AS definer,
       p.proowner::regrole::text AS owner,
       (SELECT coalesce(json_agg(CASE a.grantee WHEN 0 THEN 'public' ELSE a.grantee::regrole::text END
                                 ORDER BY a.grantee::regrole::text), '[]')
          FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
         WHERE a.grantee <> p.proowner) AS execute,
       obj_description(p.oid, 'pg_proc') AS comment
  FROM pg_proc p
 WHERE p.pronamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_depend d
                   WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
 ORDER BY p.proname, 1`;
