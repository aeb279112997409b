-- Assertions that pgTAP lacks. Load them after pgTAP, into any schema that the tests' search_path
-- leads to: `pgtap-runner --assertions`, `\i …/pgtap-runner/sql/assertions.sql` in a test file, or
-- psql. They work under pg_prove as well.
--
-- Names that begin with an underscore are not for use in tests.

-- The named relation, or NULL.
CREATE OR REPLACE FUNCTION _pr_relation(schema_name name, relation_name name)
RETURNS pg_catalog.pg_class LANGUAGE sql STABLE AS $$
  SELECT c FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2
$$;

-- A result with its reasons: one line of diagnostics for each.
CREATE OR REPLACE FUNCTION _pr_result(passed boolean, description text, reasons text[])
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  answer text := ok(passed, description);
BEGIN
  IF NOT passed AND cardinality(reasons) > 0 THEN
    answer := answer || E'\n' || diag('    ' || array_to_string(reasons, E'\n    '));
  END IF;
  RETURN answer;
END $$;

------------------------------------------------------------------------------ row-level security

-- rls_is_enabled(schema, table [, description])
CREATE OR REPLACE FUNCTION rls_is_enabled(
  schema_name name, table_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_relation pg_catalog.pg_class := _pr_relation(schema_name, table_name);
BEGIN
  RETURN _pr_result(
    COALESCE(found_relation.relrowsecurity, false),
    COALESCE(description, format('Row-level security should be enabled on %I.%I', schema_name, table_name)),
    ARRAY[CASE WHEN found_relation.oid IS NULL THEN format('there is no table %I.%I', schema_name, table_name)
          ELSE 'it is disabled: whoever may read the table reads every row' END]);
END $$;

-- rls_is_forced(schema, table [, description]): the owner is bound by the policies as well.
CREATE OR REPLACE FUNCTION rls_is_forced(
  schema_name name, table_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_relation pg_catalog.pg_class := _pr_relation(schema_name, table_name);
BEGIN
  RETURN _pr_result(
    COALESCE(found_relation.relrowsecurity AND found_relation.relforcerowsecurity, false),
    COALESCE(description, format('Row-level security should be forced on %I.%I', schema_name, table_name)),
    ARRAY[CASE WHEN found_relation.oid IS NULL THEN format('there is no table %I.%I', schema_name, table_name)
          WHEN NOT found_relation.relrowsecurity THEN 'it is disabled: whoever may read the table reads every row'
          ELSE 'it is enabled, but not for the owner of the table' END]);
END $$;

-- An expression as the server would print it in a policy of the table; the error it gives if it is
-- none. The policy is made for that, and undone.
CREATE OR REPLACE FUNCTION _pr_normal_expression(
  target regclass, expression text, for_check boolean,
  OUT printed text, OUT problem text
) LANGUAGE plpgsql AS $$
BEGIN
  IF expression IS NULL THEN RETURN; END IF;
  BEGIN
    EXECUTE format(
      CASE WHEN for_check THEN 'CREATE POLICY _pr_expression ON %s FOR INSERT WITH CHECK (%s)'
           ELSE 'CREATE POLICY _pr_expression ON %s FOR SELECT USING (%s)' END,
      target, expression);
    SELECT pg_catalog.pg_get_expr(COALESCE(polqual, polwithcheck), polrelid) INTO printed
    FROM pg_catalog.pg_policy WHERE polrelid = target AND polname = '_pr_expression';
    RAISE EXCEPTION USING ERRCODE = 'PRUND';
  EXCEPTION
    WHEN SQLSTATE 'PRUND' THEN NULL;
    WHEN OTHERS THEN problem := SQLERRM;
  END;
END $$;

-- policy_is(schema, table, policy, command, roles, using, check [, description])
--
-- The policy exists with this command (ALL, SELECT, INSERT, UPDATE, DELETE), these roles (PUBLIC is
-- 'public') and these expressions, NULL for none. Expressions are compared as the server prints
-- them, so spaces and parentheses do not matter.
CREATE OR REPLACE FUNCTION policy_is(
  schema_name name, table_name name, policy_name name,
  command text, roles name[], using_expression text, check_expression text,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found pg_catalog.pg_policies;
  wanted_using record;
  wanted_check record;
  reasons text[] := '{}';
  wanted_roles name[] := ARRAY(SELECT unnest(roles) ORDER BY 1);
  target regclass := to_regclass(format('%I.%I', schema_name, table_name));
BEGIN
  SELECT * INTO found FROM pg_catalog.pg_policies
  WHERE schemaname = schema_name AND tablename = table_name AND policyname = policy_name;
  IF found.policyname IS NULL THEN
    reasons := ARRAY[CASE WHEN target IS NULL THEN format('there is no table %I.%I', schema_name, table_name)
                     ELSE format('the table has no policy %I', policy_name) END];
  ELSE
    found.roles := ARRAY(SELECT unnest(found.roles) ORDER BY 1);
    wanted_using := _pr_normal_expression(target, using_expression, false);
    wanted_check := _pr_normal_expression(target, check_expression, true);
    reasons := array_remove(ARRAY[
      CASE WHEN found.cmd <> upper(command)
        THEN format(E'command\n        have: %s\n        want: %s', found.cmd, upper(command)) END,
      CASE WHEN found.roles <> wanted_roles
        THEN format(E'roles\n        have: %s\n        want: %s',
          array_to_string(found.roles, ', '), array_to_string(wanted_roles, ', ')) END,
      CASE WHEN wanted_using.problem IS NOT NULL THEN 'the wanted USING is no expression: ' || wanted_using.problem
        WHEN found.qual IS DISTINCT FROM wanted_using.printed
        THEN format(E'USING\n        have: %s\n        want: %s',
          COALESCE(found.qual, 'none'), COALESCE(wanted_using.printed, 'none')) END,
      CASE WHEN wanted_check.problem IS NOT NULL THEN 'the wanted CHECK is no expression: ' || wanted_check.problem
        WHEN found.with_check IS DISTINCT FROM wanted_check.printed
        THEN format(E'WITH CHECK\n        have: %s\n        want: %s',
          COALESCE(found.with_check, 'none'), COALESCE(wanted_check.printed, 'none')) END
    ], NULL);
  END IF;
  RETURN _pr_result(
    cardinality(reasons) = 0,
    COALESCE(description, format('Policy %I on %I.%I should be as wanted', policy_name, schema_name, table_name)),
    reasons);
END $$;

-- Runs a statement as a role and undoes it: the rows that it gave or touched, or its error. That the
-- role cannot be taken is told apart, since it has the same SQLSTATE as a refusal.
CREATE OR REPLACE FUNCTION _pr_attempt(
  as_role name, statement text,
  OUT row_count bigint, OUT state text, OUT message text
) LANGUAGE plpgsql AS $$
DECLARE
  role_taken boolean := false;
BEGIN
  BEGIN
    PERFORM pg_catalog.set_config('role', as_role, true);
    role_taken := true;
    EXECUTE statement;
    GET DIAGNOSTICS row_count = ROW_COUNT;
    RAISE EXCEPTION USING ERRCODE = 'PRUND';
  EXCEPTION
    WHEN SQLSTATE 'PRUND' THEN NULL;
    WHEN OTHERS THEN
      row_count := NULL;
      state := CASE WHEN role_taken THEN SQLSTATE ELSE 'role not taken' END;
      message := SQLERRM;
  END;
END $$;

-- policy_allows(role, statement [, description])
--
-- As the role, the statement gives or touches at least one row: `SELECT FROM tasks WHERE id = 1`,
-- `UPDATE tasks SET title = 'x' WHERE id = 1`. Whatever it does is undone.
CREATE OR REPLACE FUNCTION policy_allows(
  as_role name, statement text,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  attempt record := _pr_attempt(as_role, statement);
BEGIN
  RETURN _pr_result(
    COALESCE(attempt.row_count > 0, false),
    COALESCE(description, format('%s should be allowed: %s', as_role, statement)),
    ARRAY[CASE WHEN attempt.state IS NULL THEN 'no row was reached'
          ELSE format('%s: %s', attempt.state, attempt.message) END]);
END $$;

-- policy_denies(role, statement [, description])
--
-- As the role, the statement is refused (42501), or reaches no row: a SELECT, UPDATE or DELETE does
-- not see what a policy hides. Any other error is a failure, for it shows nothing.
CREATE OR REPLACE FUNCTION policy_denies(
  as_role name, statement text,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  attempt record := _pr_attempt(as_role, statement);
BEGIN
  RETURN _pr_result(
    COALESCE(attempt.row_count = 0, attempt.state = '42501'),
    COALESCE(description, format('%s should be denied: %s', as_role, statement)),
    ARRAY[CASE WHEN attempt.state IS NULL THEN format('%s rows were reached', attempt.row_count)
          ELSE format('%s: %s', attempt.state, attempt.message) END]);
END $$;

------------------------------------------------------------------------ views, functions, grants

-- view_is_security_invoker(schema, view [, description])
--
-- Whoever reads the view needs the rights, and is bound by the policies, of the tables below.
CREATE OR REPLACE FUNCTION view_is_security_invoker(
  schema_name name, view_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  found_relation pg_catalog.pg_class := _pr_relation(schema_name, view_name);
  setting text;
BEGIN
  SELECT lower(option_value) INTO setting
  FROM pg_catalog.pg_options_to_table(found_relation.reloptions) WHERE option_name = 'security_invoker';
  RETURN _pr_result(
    COALESCE(found_relation.relkind = 'v' AND setting IN ('true', 'on', 'yes', '1'), false),
    COALESCE(description, format('View %I.%I should have security_invoker', schema_name, view_name)),
    ARRAY[CASE WHEN found_relation.relkind IS DISTINCT FROM 'v' THEN format('there is no view %I.%I', schema_name, view_name)
          ELSE 'it reads its tables with the rights of its owner' END]);
END $$;

-- Functions whose search_path is the caller's, in a schema: all of a name, or all of those that
-- run with their owner's rights.
CREATE OR REPLACE FUNCTION _pr_unpinned(schema_name name, function_name name)
RETURNS text[] LANGUAGE sql STABLE AS $$
  SELECT COALESCE(array_agg(p.oid::regprocedure::text ORDER BY p.oid::regprocedure::text), '{}')
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname = $1
    AND CASE WHEN $2 IS NULL THEN p.prosecdef ELSE p.proname = $2 END
    AND NOT EXISTS (
      SELECT FROM unnest(p.proconfig) setting WHERE setting LIKE 'search\_path=%')
$$;

-- search_path_is_pinned(schema, function [, description])
CREATE OR REPLACE FUNCTION search_path_is_pinned(
  schema_name name, function_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  unpinned text[] := _pr_unpinned(schema_name, function_name);
  there boolean := EXISTS (
    SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = schema_name AND p.proname = function_name);
BEGIN
  RETURN _pr_result(
    there AND cardinality(unpinned) = 0,
    COALESCE(description, format('Function %I.%I should pin its search_path', schema_name, function_name)),
    CASE WHEN NOT there THEN ARRAY[format('there is no function %I.%I', schema_name, function_name)]
         ELSE ARRAY(SELECT 'takes the search_path of its caller: ' || f FROM unnest(unpinned) f) END);
END $$;

-- security_definers_pin_search_path(schema [, description])
--
-- Every function of the schema that runs with its owner's rights has a search_path of its own; with
-- the caller's, the caller chooses which functions and tables the owner uses.
CREATE OR REPLACE FUNCTION security_definers_pin_search_path(
  schema_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  unpinned text[] := _pr_unpinned(schema_name, NULL);
BEGIN
  RETURN _pr_result(
    cardinality(unpinned) = 0,
    COALESCE(description, format('SECURITY DEFINER functions of %I should pin their search_path', schema_name)),
    ARRAY(SELECT 'takes the search_path of its caller: ' || f FROM unnest(unpinned) f));
END $$;

-- What PUBLIC may do in a schema, one line for each object. A function without a list of privileges
-- may be run by PUBLIC: that is the default.
CREATE OR REPLACE FUNCTION _pr_public_privileges(schema_name name)
RETURNS TABLE (object_name name, line text) LANGUAGE sql STABLE AS $$
  WITH granted AS (
    SELECT n.nspname AS object_name, format('schema %I', n.nspname) AS object, a.privilege_type
    FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
    WHERE n.nspname = $1 AND a.grantee = 0
    UNION ALL
    SELECT c.relname, format('%s %I.%I',
      CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
           ELSE 'table' END, n.nspname, c.relname), a.privilege_type
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
         pg_catalog.aclexplode(c.relacl) a
    WHERE n.nspname = $1 AND a.grantee = 0
    UNION ALL
    SELECT c.relname, format('column %I.%I.%I', n.nspname, c.relname, t.attname), a.privilege_type
    FROM pg_catalog.pg_attribute t JOIN pg_catalog.pg_class c ON c.oid = t.attrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
         pg_catalog.aclexplode(t.attacl) a
    WHERE n.nspname = $1 AND a.grantee = 0
    UNION ALL
    SELECT p.proname, format('function %s', p.oid::regprocedure), a.privilege_type
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace,
         pg_catalog.aclexplode(COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) a
    WHERE n.nspname = $1 AND a.grantee = 0
      -- What extensions brought is theirs to protect.
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
  )
  SELECT object_name, format('PUBLIC has %s on %s', string_agg(privilege_type, ', ' ORDER BY privilege_type), object)
  FROM granted GROUP BY object_name, object ORDER BY object
$$;

-- public_has_no_privileges(schema [, description])
--
-- PUBLIC may do nothing with the schema, nor with any table, column, view, sequence or function in
-- it.
CREATE OR REPLACE FUNCTION public_has_no_privileges(
  schema_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  lines text[] := ARRAY(SELECT line FROM _pr_public_privileges(schema_name));
BEGIN
  RETURN _pr_result(
    cardinality(lines) = 0,
    COALESCE(description, format('PUBLIC should have no privilege in schema %I', schema_name)),
    lines);
END $$;

-- public_has_no_privilege_on(schema, object [, description]): a table, view, sequence or function.
CREATE OR REPLACE FUNCTION public_has_no_privilege_on(
  schema_name name, object_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  lines text[] := ARRAY(
    SELECT p.line FROM _pr_public_privileges(schema_name) p
    WHERE p.object_name = public_has_no_privilege_on.object_name AND p.line NOT LIKE '% on schema %');
  there boolean := to_regclass(format('%I.%I', schema_name, object_name)) IS NOT NULL OR EXISTS (
    SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = schema_name AND p.proname = object_name);
BEGIN
  RETURN _pr_result(
    there AND cardinality(lines) = 0,
    COALESCE(description, format('PUBLIC should have no privilege on %I.%I', schema_name, object_name)),
    CASE WHEN there THEN lines ELSE ARRAY[format('there is no %I.%I', schema_name, object_name)] END);
END $$;

------------------------------------------------------------------------------------------- indexes

-- Names of the indexes in a query's plan, and the plan for people.
CREATE OR REPLACE FUNCTION _pr_plan(query text, OUT index_names text[], OUT lines text[])
LANGUAGE plpgsql AS $$
DECLARE
  plan json;
  line text;
BEGIN
  EXECUTE 'EXPLAIN (FORMAT JSON, COSTS OFF) ' || query INTO plan;
  index_names := ARRAY(
    SELECT (regexp_matches(plan::text, '"Index Name": "([^"]*)"', 'g'))[1]);
  lines := '{}';
  FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
    lines := lines || line;
  END LOOP;
END $$;

-- query_uses_index(query, index [, description])
--
-- With the rows and statistics that are there, the planner chooses the index. Tables of a few rows
-- are read whole in any case: fill the table and ANALYZE it, or use query_can_use_index().
CREATE OR REPLACE FUNCTION query_uses_index(
  query text, index_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  plan record := _pr_plan(query);
BEGIN
  RETURN _pr_result(
    index_name = ANY (plan.index_names),
    COALESCE(description, format('The query should use the index %I', index_name)),
    plan.lines);
END $$;

-- query_can_use_index(query, index [, description])
--
-- The index fits the query: the planner takes it once it may neither read the whole table nor sort.
CREATE OR REPLACE FUNCTION query_can_use_index(
  query text, index_name name,
  description text DEFAULT NULL
) RETURNS text LANGUAGE plpgsql
SET enable_seqscan = off SET enable_sort = off AS $$
DECLARE
  plan record := _pr_plan(query);
BEGIN
  RETURN _pr_result(
    index_name = ANY (plan.index_names),
    COALESCE(description, format('The query should be able to use the index %I', index_name)),
    plan.lines);
END $$;
