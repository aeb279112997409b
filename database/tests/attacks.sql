-- What somebody would try who has a login, or an injection into one, and what comes of it.
BEGIN;
SELECT plan(140);

CREATE TEMPORARY TABLE victim AS SELECT * FROM generate_api_key('victim', 'bob', '["admin"]');
GRANT SELECT ON victim TO PUBLIC;
INSERT INTO api_keys (id, key_name, key_hash, key_prefix, user_id, permissions)
VALUES ('00000000-0000-4000-8000-000000000001', 'mine', repeat('a', 64), 'ctm_aaaaaaaaaaaaaaaa', 'alice', '["read:tasks"]');
INSERT INTO api_access_logs (request_id, endpoint, method, user_id) VALUES ('secret-request', '/', 'GET', 'bob');
SELECT set_encrypted_setting('payment.token', '"top-s3cret"', repeat('k', 32));
INSERT INTO configuration_settings (setting_key, setting_value, setting_type, is_sensitive)
VALUES ('internal.host', '"s3cret-host"', 'string', true);
SET LOCAL app.current_user_id = 'alice';

-- Runs a statement as who logged in so, undoes it, and answers what it found, or why nothing.
CREATE FUNCTION pg_temp.attempt(login text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    detail text;
    hint text;
BEGIN
    BEGIN
        EXECUTE format('SET LOCAL SESSION AUTHORIZATION %I', login);
        EXECUTE statement INTO answer;
        RAISE EXCEPTION SQLSTATE 'UNDO1';
    EXCEPTION
        WHEN SQLSTATE 'UNDO1' THEN RETURN answer;
        WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
            RETURN SQLSTATE || CASE WHEN SQLERRM || detail || hint ~ 's3cret|[0-9a-f]{64}' THEN ' leaks' ELSE '' END;
    END;
END
$$;

-- Logins of each group, beside those of ours.
CREATE ROLE test_person LOGIN IN ROLE authenticated_users;
CREATE ROLE test_service LOGIN IN ROLE api_users;
CREATE ROLE test_report LOGIN IN ROLE readonly_users;
CREATE TEMPORARY TABLE logins (login text);
INSERT INTO logins VALUES ('ctm_api'), ('ctm_query'), ('ctm_monitor'), ('test_person'), ('test_service'), ('test_report');

SELECT is(pg_temp.attempt(login, 'SELECT count(*) FROM public.api_keys'), '42501', login || ' does not enter the schema')
FROM unnest('{ctm_backup,ctm_replicator}'::text[]) login;

-- Becoming somebody else
SELECT is(pg_temp.attempt(login, 'SET LOCAL ROLE ctm_owner'), '42501', login || ' does not become the owner') FROM logins;
SELECT is(pg_temp.attempt(login, 'SET LOCAL ROLE ctm_key_lookup'), '42501', login || ' does not become the lookup') FROM logins;
SELECT is(pg_temp.attempt(login, $$SELECT set_config('role', 'ctm_migrator', true)$$), '42501',
          login || ' does not become the migrator by set_config') FROM logins;
SELECT is(pg_temp.attempt('ctm_query', format('SET LOCAL ROLE %I', name)), '42501', 'ctm_query becomes nobody: not ' || name)
FROM unnest('{ctm_api,api_users,authenticated_users,readonly_users,ctm_monitor,ctm_backup}'::text[]) name;
SELECT is(pg_temp.attempt('ctm_query',
    $$SELECT query_to_xml('SELECT set_config(''role'', ''none'', true); SELECT key_hash FROM api_keys', true, false, '')$$),
    '42501', 'a query within a query reads no hash');

-- Claiming to be an administrator
SELECT is(pg_temp.attempt(login, $$SELECT count(*) FROM (SELECT set_config('app.user_role', 'admin', true)) claim,
                                   api_keys WHERE user_id = 'bob'$$),
          CASE WHEN login = 'ctm_query' THEN '1' WHEN login IN ('ctm_api', 'test_person', 'test_report') THEN '0' ELSE '42501' END,
          login || ' sees no more keys by calling itself an administrator') FROM logins;
SELECT is(pg_temp.attempt(login, $$SELECT count(*) FROM (SELECT set_config('app.user_role', 'admin', true)) claim,
                                   configuration_settings WHERE is_sensitive$$),
          CASE login WHEN 'ctm_monitor' THEN '42501' ELSE '0' END,
          login || ' sees no sensitive setting so') FROM logins;

-- Hashes and secrets, by every road
CREATE TEMPORARY TABLE roads (statement text, what text);
GRANT SELECT ON roads TO PUBLIC;
INSERT INTO roads VALUES
    ('SELECT key_hash FROM api_keys LIMIT 1', 'the table'),
    ($$SELECT setting_value FROM configuration_settings WHERE setting_key = 'payment.token'$$, 'an encrypted setting'),
    ($$SELECT setting_value FROM configuration_settings WHERE setting_key = 'internal.host'$$, 'a sensitive setting'),
    ($$SELECT string_agg(a::text, '') FROM audit_logs a WHERE a::text ~ 's3cret|PGP|"key_hash": "[^\[]'$$, 'the audit log'),
    ($$SELECT string_agg(most_common_vals::text || coalesce(histogram_bounds::text, ''), '') FROM pg_stats
       WHERE tablename IN ('api_keys', 'configuration_settings', 'audit_logs') AND attname IN ('key_hash', 'setting_value')$$,
     'statistics of the planner'),
    ($$SELECT string_agg(row_to_json(v)::text, '') FROM recent_activity v WHERE entity_type LIKE 'api_key%'$$, 'the activity view'),
    ($$SELECT cursor_to_xml(NULL, 1, false, false, '')$$, 'a cursor'),
    ($$SELECT table_to_xml('api_keys', true, false, '')$$, 'a table as XML'),
    ($$SELECT query_to_xml('SELECT key_hash FROM api_keys', true, false, '')$$, 'a query as XML'),
    ($$SELECT schema_to_xml('public', true, false, '')$$, 'the schema as XML'),
    ($$SELECT pg_read_file('postgresql.conf')$$, 'a file'),
    ($$SELECT string_agg(row_to_json(v)::text, '') FROM task_performance_summary v$$, 'a materialised view'),
    ($$SELECT string_agg(row_to_json(v)::text, '') FROM task_dependency_tree v$$, 'the other materialised view'),
    ($$SELECT string_agg(row_to_json(v)::text, '') FROM comprehensive_dashboard v$$, 'the dashboard'),
    ($$SELECT string_agg(row_to_json(f)::text, '') FROM get_error_statistics() f$$, 'a function'),
    ($$UPDATE api_keys SET key_name = NULL RETURNING 'done'$$, 'what a refused change says'),
    ($$INSERT INTO configuration_settings (setting_key, setting_value, setting_type)
       VALUES ('payment.token', '1', 'number') RETURNING 'done'$$, 'what a refused setting says');
SELECT is_empty(
    $$SELECT login, what, pg_temp.attempt(login, statement) FROM logins, roads
      WHERE pg_temp.attempt(login, statement) ~ 's3cret|PGP|[0-9a-f]{64}|leaks'$$,
    'no login reads a hash or a secret by any road');
SELECT is_empty(
    $$SELECT login, pg_temp.attempt(login, statement) FROM logins, roads
      WHERE what = 'the activity view' AND pg_temp.attempt(login, statement) NOT IN ('42501')$$,
    'the activity view shows nothing of keys');

SELECT is(pg_temp.attempt('test_person', 'UPDATE api_keys SET key_name = NULL'), '23502',
    'a change of one''s own key is refused without showing its row');
SELECT is_empty(
    $$SELECT view.oid::regclass, guarded.oid::regclass
      FROM pg_class view JOIN pg_rewrite ON ev_class = view.oid
      JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid
      JOIN pg_class guarded ON refclassid = 'pg_class'::regclass AND guarded.oid = refobjid
      WHERE view.relkind = 'm' AND guarded.relrowsecurity$$,
    'no materialised view, which no policy reaches, is made of a guarded table');

-- Foreign keys, by which somebody could find out what exists
SELECT is_empty(
    $$SELECT conname FROM pg_constraint JOIN pg_class guarded ON guarded.oid = confrelid
      WHERE contype = 'f' AND relrowsecurity$$,
    'no foreign key leads to a guarded table');
SELECT is(
    pg_temp.attempt(login, format($$INSERT INTO api_access_logs (request_id, endpoint, method, api_key_id)
                                    VALUES ('r', '/', 'GET', %L) RETURNING 'taken'$$, (SELECT id FROM victim))),
    pg_temp.attempt(login, format($$INSERT INTO api_access_logs (request_id, endpoint, method, api_key_id)
                                    VALUES ('r', '/', 'GET', %L) RETURNING 'taken'$$, gen_random_uuid())),
    login || ' learns from no log row whether a key exists') FROM logins;

-- The lookup, which the API may call
SELECT is(pg_temp.attempt('ctm_api', $$SELECT count(*) FROM find_api_key('ctm_')$$), '0', 'the lookup lists no keys');
SELECT is(pg_temp.attempt(login, $$SELECT count(*) FROM find_api_key('ctm_')$$), '42501', login || ' does not call it')
FROM logins WHERE login <> 'ctm_api';

-- Functions of the owner
CREATE TEMPORARY TABLE owner_functions (call text);
INSERT INTO owner_functions VALUES
    ($$generate_api_key('n', 'alice', '["admin"]')$$), ($$rotate_api_key('00000000-0000-4000-8000-000000000001')$$),
    ($$revoke_api_key('00000000-0000-4000-8000-000000000001')$$), ($$set_encrypted_setting('k', '1', repeat('k', 32))$$),
    ($$rotate_encrypted_settings(repeat('k', 32), repeat('l', 32))$$), ($$decrypt_setting('k', 'c', 'k')$$),
    ('cleanup_old_logs(1)'), ('create_log_partitions(100)'), ('seal_audit_log(true)'), ('verify_audit_log()'),
    ($$append_audit_seal('retention', now(), now(), 0, NULL)$$), ('refresh_materialized_views()'), ('audit_circumstances()');
SELECT is_empty(
    $$SELECT login, call, pg_temp.attempt(login, 'SELECT ' || call) FROM logins, owner_functions
      WHERE pg_temp.attempt(login, 'SELECT ' || call) IS DISTINCT FROM '42501'$$,
    'no login calls a function that is the owner''s');
SELECT is(pg_temp.attempt(login, $$SELECT get_encrypted_setting('payment.token', repeat('k', 32))$$), '42501',
          login || ' decrypts nothing, even with the key') FROM logins WHERE login <> 'ctm_api';

-- Own rights
SELECT is(pg_temp.attempt(login, $$UPDATE api_keys SET permissions = '["admin"]' RETURNING 'raised'$$), '42501',
          login || ' raises no permissions') FROM logins;
SELECT is(pg_temp.attempt('test_person', $$WITH raised AS (UPDATE api_keys SET key_name = 'x' WHERE user_id = 'bob' RETURNING 1)
                                           SELECT count(*) FROM raised$$), '0', 'another''s key is not renamed');
SELECT is(pg_temp.attempt('test_person', $$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id)
                                           SELECT 'n', key_hash, key_prefix, 'alice' FROM api_keys$$), '42501',
    'a guessed hash cannot be tried by its uniqueness');
SELECT is(pg_temp.attempt(login, 'GRANT SELECT ON api_keys TO PUBLIC'), '42501', login || ' grants nothing')
FROM logins WHERE login NOT IN ('test_person', 'ctm_api', 'ctm_query', 'test_report');
SELECT is(pg_temp.attempt(login, 'ALTER TABLE api_keys DISABLE ROW LEVEL SECURITY'), '42501', login || ' lifts no guard') FROM logins;
SELECT is(pg_temp.attempt(login, 'DROP POLICY api_keys_user_policy ON api_keys'), '42501', login || ' drops no policy') FROM logins;
SELECT is(pg_temp.attempt(login, 'ALTER TABLE tasks DISABLE TRIGGER ALL'), '42501', login || ' stops no trigger') FROM logins;
SELECT is(pg_temp.attempt(login, 'SET LOCAL session_replication_role = replica'), '42501', login || ' does not step past triggers') FROM logins;
SELECT is(pg_temp.attempt(login, 'SET LOCAL row_security = off; SELECT count(*) FROM api_access_logs'), '42501',
          login || ' sees nothing by turning row security off')
FROM logins;

-- Functions and objects of one's own
SELECT is(pg_temp.attempt(login, 'CREATE TABLE public.trap (a integer)'), '42501', login || ' creates no table') FROM logins;
SELECT is(pg_temp.attempt(login, 'CREATE TEMPORARY TABLE api_keys (key_hash text)'), '42501',
          login || ' makes no temporary table to be taken for another') FROM logins;
SELECT is(pg_temp.attempt(login, $$CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'$$), '42501',
          login || ' creates no function for the planner to call early') FROM logins;
SELECT is(pg_temp.attempt(login, 'TRUNCATE tasks CASCADE'), '42501', login || ' empties nothing') FROM logins;
SELECT is(pg_temp.attempt(login, 'DELETE FROM tasks'), '42501', login || ' deletes no task') FROM logins;

-- Locks, messages and large objects of one's own, by which others would be put off, misled or crowded out
CREATE TEMPORARY TABLE closed AS
SELECT oid::regprocedure::text AS routine,
       format('SELECT 1 FROM (SELECT %s(%s)) call', proname,
              (SELECT string_agg(format('%L::%s', CASE type WHEN 'boolean'::regtype THEN 'false' WHEN 'text'::regtype THEN 'ctm'
                                                            WHEN 'bytea'::regtype THEN 'ctm' ELSE '1' END, type::regtype), ', ' ORDER BY place)
               FROM unnest(proargtypes) WITH ORDINALITY argument (type, place))) AS statement
FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace
  AND (proname ~ '^pg_(try_)?advisory_(xact_)?lock(_shared)?$'
       OR proname IN ('pg_logical_emit_message', 'lo_creat', 'lo_create', 'lo_from_bytea'));
GRANT SELECT ON closed TO PUBLIC;
SELECT is(count(*) FILTER (WHERE routine !~ '^lo_')::integer, 18, 'these are sixteen kinds of locks and two of messages') FROM closed;
SELECT is(count(*) FILTER (WHERE routine ~ '^lo_')::integer, 3, 'and three ways to make a large object') FROM closed;
SELECT is_empty(
    $$SELECT login, routine, pg_temp.attempt(login, statement) FROM logins, closed
      WHERE pg_temp.attempt(login, statement) IS DISTINCT FROM '42501'$$,
    'no login takes a lock of its own, writes a message into WAL or makes a large object');

-- EXPLAIN
CREATE FUNCTION pg_temp.plan_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    lines text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || statement LOOP
        lines := lines || line || E'\n';
    END LOOP;
    RETURN lines;
END
$$;
INSERT INTO api_access_logs (request_id, endpoint, method, user_id)
SELECT 'r' || n, '/', 'GET', 'user ' || n % 50 FROM generate_series(1, 20000) n;
ANALYZE api_access_logs;
SELECT unalike(pg_temp.attempt('test_person', $$SELECT pg_temp.plan_of('SELECT * FROM api_access_logs')$$),
    '%Rows Removed%', 'a plan counts no rows of others');
SELECT alike(pg_temp.attempt('test_person', $$SELECT pg_temp.plan_of('SELECT * FROM api_access_logs')$$),
    '%Index Scan on api_access_logs_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') || '_user_id_created_at_idx%',
    'a plan shows the index of the user''s rows');
SELECT unalike(pg_temp.attempt('test_person', $$SELECT pg_temp.plan_of('SELECT * FROM api_access_logs')$$),
    '%Seq Scan on public.api_access_logs_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM') || ' %', 'and does not look at the others');

-- Messages of errors
SELECT is(pg_temp.attempt('test_person', $$SELECT 1 / (CASE WHEN user_id = 'bob' THEN 0 ELSE 1 END) FROM api_keys$$), '1',
    'an error that a row of another would cause does not occur');
SELECT is(pg_temp.attempt('test_person', $$SELECT count(*) FROM api_keys WHERE key_name::integer > 0$$), '22P02',
    'an error of a row of one''s own does');

SELECT * FROM finish();
ROLLBACK;
