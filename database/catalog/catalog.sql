-- Every object that migrations own, one row each: kind, name, definition. Equal rows in two
-- databases mean equal schemas. Read with search_path = pg_catalog, so that every name is qualified.
--
-- Left out, because they are not what migrations say: members of extensions, objects of the system,
-- schemas that a superuser owns (what provisioning makes is there; public counts whoever owns it),
-- partitions with bounds (made by month, or from the tables of an older version), the order of
-- columns, statistics, tablespaces, storage of columns, and whether a materialised view is filled.
WITH schemas AS (
  SELECT n.oid, n.nspname, n.nspowner, n.nspacl
  FROM pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND (n.nspname = 'public'
         OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = n.nspowner AND r.rolsuper))
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
),
relations AS (
  SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    AND NOT (c.relispartition AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT')
),
routines AS (
  SELECT p.*, p.oid::regprocedure::text AS name
  FROM pg_proc p JOIN schemas n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
),
types AS (
  SELECT t.*, format('%I.%I', n.nspname, t.typname) AS name
  FROM pg_type t JOIN schemas n ON n.oid = t.typnamespace
  WHERE t.typtype IN ('e', 'd', 'r')
    AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype IN ('e', 'i'))
),
columns AS (
  SELECT a.*, r.relkind, r.name AS relation, format('%s.%I', r.name, a.attname) AS name
  FROM pg_attribute a JOIN relations r ON r.oid = a.attrelid
  WHERE a.attnum > 0 AND NOT a.attisdropped AND r.relkind NOT IN ('S')
),
-- What each grant says: default privileges of the object's kind are spelled out, so that an explicit
-- grant of the same is no difference.
grants AS (
  SELECT CASE r.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind, r.name, r.relowner AS owner,
         coalesce(r.relacl, acldefault(CASE r.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", r.relowner)) AS acl
  FROM relations r WHERE r.relkind <> 'c'
  UNION ALL
  SELECT 'column', c.name, r.relowner, c.attacl
  FROM columns c JOIN relations r ON r.oid = c.attrelid WHERE c.attacl IS NOT NULL
  UNION ALL
  SELECT 'function', p.name, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner)) FROM routines p
  UNION ALL
  SELECT 'type', t.name, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner)) FROM types t
  UNION ALL
  SELECT 'schema', quote_ident(n.nspname), n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
  FROM schemas n WHERE n.nspname <> 'public'
)

SELECT 'schema' AS kind, quote_ident(n.nspname) AS name,
       concat_ws(E'\n', 'owner ' || n.nspowner::regrole,
                 'comment ' || quote_literal(obj_description(n.oid, 'pg_namespace'))) AS definition
FROM schemas n WHERE n.nspname <> 'public'

UNION ALL
SELECT CASE r.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                      WHEN 'c' THEN 'composite type' ELSE 'table' END,
       r.name,
       concat_ws(E'\n',
         CASE r.relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' END,
         'owner ' || r.relowner::regrole,
         'partition by ' || pg_get_partkeydef(r.oid),
         (SELECT 'partition of ' || i.inhparent::regclass || ' ' || pg_get_expr(r.relpartbound, r.oid)
          FROM pg_inherits i WHERE i.inhrelid = r.oid AND r.relispartition),
         (SELECT 'inherits ' || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
          FROM pg_inherits i WHERE i.inhrelid = r.oid AND NOT r.relispartition),
         CASE WHEN r.relrowsecurity THEN 'row security enabled' END,
         CASE WHEN r.relforcerowsecurity THEN 'row security forced' END,
         CASE WHEN r.relreplident NOT IN ('d', 'n') THEN 'replica identity ' || r.relreplident::text END,
         (SELECT 'with ' || string_agg(option, ', ' ORDER BY option) FROM unnest(r.reloptions) option),
         'comment ' || quote_literal(obj_description(r.oid, 'pg_class')),
         CASE WHEN r.relkind IN ('v', 'm') THEN 'as' || E'\n' || pg_get_viewdef(r.oid) END)
FROM relations r WHERE r.relkind <> 'S'

UNION ALL
SELECT 'sequence', r.name,
       concat_ws(E'\n', 'owner ' || r.relowner::regrole,
         format('as %s start %s increment %s minimum %s maximum %s cache %s%s',
                s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
                CASE WHEN s.seqcycle THEN ' cycle' ELSE '' END),
         (SELECT format('owned by %s.%I', d.refobjid::regclass, a.attname)
          FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
          WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')),
         'comment ' || quote_literal(obj_description(r.oid, 'pg_class')))
FROM relations r JOIN pg_sequence s ON s.seqrelid = r.oid

UNION ALL
SELECT 'column', c.name,
       concat_ws(E'\n', format_type(c.atttypid, c.atttypmod),
         CASE WHEN c.attnotnull THEN 'not null' END,
         (SELECT 'collate ' || l.oid::regcollation FROM pg_collation l JOIN pg_type t ON t.oid = c.atttypid
          WHERE l.oid = c.attcollation AND l.oid <> t.typcollation),
         CASE c.attidentity WHEN 'a' THEN 'generated always as identity'
                            WHEN 'd' THEN 'generated by default as identity' END,
         (SELECT CASE c.attgenerated WHEN '' THEN 'default ' ELSE 'generated always as ' END
                 || pg_get_expr(d.adbin, d.adrelid)
          FROM pg_attrdef d WHERE d.adrelid = c.attrelid AND d.adnum = c.attnum),
         'comment ' || quote_literal(col_description(c.attrelid, c.attnum)))
FROM columns c WHERE c.relkind NOT IN ('v', 'm')

UNION ALL
-- Columns of views: their definition is in the view, only comments are their own.
SELECT 'column', c.name, 'comment ' || quote_literal(col_description(c.attrelid, c.attnum))
FROM columns c WHERE c.relkind IN ('v', 'm') AND col_description(c.attrelid, c.attnum) IS NOT NULL

UNION ALL
-- NOT NULL is said by the column; from 18 on the server also keeps a constraint for it.
SELECT 'constraint', format('%s.%I', r.name, k.conname),
       concat_ws(E'\n', pg_get_constraintdef(k.oid),
         CASE WHEN NOT k.convalidated AND pg_get_constraintdef(k.oid) !~ 'NOT VALID' THEN 'not valid' END,
         'comment ' || quote_literal(obj_description(k.oid, 'pg_constraint')))
FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
WHERE k.contype <> 'n' AND k.contype <> 't'

UNION ALL
-- Indexes of constraints are said by the constraint.
SELECT 'index', format('%s.%I', r.name, c.relname),
       concat_ws(E'\n', pg_get_indexdef(i.indexrelid),
         CASE WHEN NOT i.indisvalid THEN 'invalid' END,
         CASE WHEN i.indisclustered THEN 'clustered' END,
         CASE WHEN i.indisreplident THEN 'replica identity' END,
         'comment ' || quote_literal(obj_description(i.indexrelid, 'pg_class')))
FROM pg_index i JOIN relations r ON r.oid = i.indrelid JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint k
                  WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))

UNION ALL
SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), pg_get_statisticsobjdef(s.oid)
FROM pg_statistic_ext s JOIN schemas n ON n.oid = s.stxnamespace

UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END, p.name,
       concat_ws(E'\n', 'owner ' || p.proowner::regrole,
         'comment ' || quote_literal(obj_description(p.oid, 'pg_proc')),
         CASE WHEN p.prokind = 'a'
              THEN (SELECT format('aggregate %s, state %s, initial %L', g.aggtransfn, g.aggtranstype::regtype,
                                  g.agginitval)
                    FROM pg_aggregate g WHERE g.aggfnoid = p.oid)
              ELSE pg_get_functiondef(p.oid) END)
FROM routines p

UNION ALL
SELECT 'trigger', format('%s.%I', r.name, t.tgname),
       concat_ws(E'\n', pg_get_triggerdef(t.oid),
         CASE t.tgenabled WHEN 'O' THEN NULL WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'enabled on replica'
                          ELSE 'enabled always' END,
         'comment ' || quote_literal(obj_description(t.oid, 'pg_trigger')))
FROM pg_trigger t JOIN relations r ON r.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgparentid = 0

UNION ALL
SELECT 'policy', format('%s.%I', r.name, o.polname),
       concat_ws(E'\n',
         CASE WHEN o.polpermissive THEN 'permissive' ELSE 'restrictive' END,
         'for ' || CASE o.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                                 WHEN 'd' THEN 'delete' ELSE 'all' END,
         'to ' || (SELECT string_agg(CASE role WHEN 0 THEN 'public' ELSE role::regrole::text END, ', '
                                     ORDER BY role::regrole::text) FROM unnest(o.polroles) role),
         'using ' || pg_get_expr(o.polqual, o.polrelid),
         'with check ' || pg_get_expr(o.polwithcheck, o.polrelid),
         'comment ' || quote_literal(obj_description(o.oid, 'pg_policy')))
FROM pg_policy o JOIN relations r ON r.oid = o.polrelid

UNION ALL
SELECT 'rule', format('%s.%I', r.name, w.rulename), pg_get_ruledef(w.oid)
FROM pg_rewrite w JOIN relations r ON r.oid = w.ev_class WHERE w.rulename <> '_RETURN'

UNION ALL
SELECT 'type', t.name,
       concat_ws(E'\n', 'owner ' || t.typowner::regrole,
         CASE t.typtype
           WHEN 'e' THEN (SELECT 'enum ' || string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                          FROM pg_enum e WHERE e.enumtypid = t.oid)
           WHEN 'd' THEN concat_ws(' ', 'domain over', format_type(t.typbasetype, t.typtypmod),
                                   CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault,
                                   (SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
                                    FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype <> 'n'))
           ELSE (SELECT 'range of ' || format_type(g.rngsubtype, NULL) FROM pg_range g WHERE g.rngtypid = t.oid)
         END,
         'comment ' || quote_literal(obj_description(t.oid, 'pg_type')))
FROM types t

UNION ALL
-- What the owner has by default is no grant.
SELECT 'grant', format('%s %s to %s', g.kind, g.name,
                       CASE a.grantee WHEN 0 THEN 'public' ELSE a.grantee::regrole::text END),
       string_agg(lower(a.privilege_type) || CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END, ', '
                  ORDER BY a.privilege_type)
FROM grants g CROSS JOIN aclexplode(g.acl) a
GROUP BY g.kind, g.name, a.grantee

UNION ALL
SELECT 'default privileges',
       format('%s%s of %s to %s',
              CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
                                   WHEN 'T' THEN 'types' ELSE 'schemas' END,
              ' in ' || quote_ident(n.nspname), d.defaclrole::regrole,
              CASE a.grantee WHEN 0 THEN 'public' ELSE a.grantee::regrole::text END),
       string_agg(lower(a.privilege_type), ', ' ORDER BY a.privilege_type)
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN aclexplode(d.defaclacl) a
GROUP BY d.defaclobjtype, n.nspname, d.defaclrole, a.grantee

ORDER BY 1, 2
