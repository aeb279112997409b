-- Who reaches which rows of the guarded tables: each role, with and without a user, each command.
BEGIN;
SELECT plan(109);

SELECT is(ARRAY[relrowsecurity, relforcerowsecurity], '{t,t}', format('row security of %s is on, for its owner too', relname))
FROM pg_class WHERE oid IN ('api_keys'::regclass, 'api_access_logs'::regclass,
                            'configuration_settings'::regclass, 'audit_logs'::regclass)
ORDER BY relname;
SELECT is_empty(
    $$SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity
        AND NOT relispartition AND relname NOT IN ('api_keys', 'api_access_logs', 'configuration_settings', 'audit_logs')$$,
    'and of no other table');

DELETE FROM api_keys;
TRUNCATE audit_logs, api_access_logs;
DELETE FROM configuration_settings;
INSERT INTO api_keys (id, key_name, key_hash, key_prefix, user_id, permissions, is_active) VALUES
    ('00000000-0000-4000-8000-000000000001', 'alice', 'hash-a', 'prefix-a', 'alice', '["read:tasks"]', true),
    ('00000000-0000-4000-8000-000000000002', 'alice, ended', 'hash-e', 'prefix-e', 'alice', '["read:tasks"]', false),
    ('00000000-0000-4000-8000-000000000003', 'bob', 'hash-b', 'prefix-b', 'bob', '["admin"]', true);
INSERT INTO api_access_logs (id, request_id, endpoint, method, user_id) VALUES
    ('00000000-0000-4000-8000-000000000011', 'r1', '/', 'GET', 'alice'),
    ('00000000-0000-4000-8000-000000000012', 'r2', '/', 'GET', 'bob'),
    ('00000000-0000-4000-8000-000000000013', 'r3', '/', 'GET', NULL);
INSERT INTO configuration_settings (setting_key, setting_value, setting_type, environment, is_encrypted, is_sensitive) VALUES
    ('everywhere', '1', 'number', 'all', false, false), ('production', '1', 'number', 'production', false, false),
    ('staging', '1', 'number', 'staging', false, false), ('sensitive', '1', 'number', 'all', false, true),
    ('encrypted', '"-----BEGIN PGP MESSAGE-----"', 'encrypted', 'all', true, true),
    ('unflagged', '1', 'number', 'all', NULL, NULL);
INSERT INTO tasks (title) VALUES ('t');
TRUNCATE audit_logs;
INSERT INTO audit_logs (entity_type, entity_id, action) VALUES
    ('task', uuid_nil(), 'create'), ('api_key', uuid_nil(), 'create'), ('api_keys', uuid_nil(), 'create'),
    ('configuration_setting', uuid_nil(), 'create'), ('configuration_settings', uuid_nil(), 'create'),
    ('api_access_log', uuid_nil(), 'create'), ('api_access_logs', uuid_nil(), 'create');

-- Runs a statement as a role with a user, undoes it, and answers how many rows it touched, or why not.
CREATE FUNCTION pg_temp.outcome(role_name text, user_id text, environment text, statement text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    touched bigint;
BEGIN
    BEGIN
        PERFORM set_config('app.current_user_id', user_id, true);
        PERFORM set_config('app.current_environment', environment, true);
        EXECUTE format('SET LOCAL ROLE %I', role_name);
        EXECUTE statement;
        GET DIAGNOSTICS touched = ROW_COUNT;
        RAISE EXCEPTION SQLSTATE 'UNDO1';
    EXCEPTION
        WHEN SQLSTATE 'UNDO1' THEN RETURN touched::text;
        WHEN OTHERS THEN RETURN SQLSTATE;
    END;
END
$$;

CREATE TEMPORARY TABLE matrix (place serial, role_name text, user_id text, environment text, statement text,
                               expected text, rule text);
INSERT INTO matrix (role_name, user_id, environment, statement, expected, rule) VALUES
    -- api_keys: SELECT
    ('authenticated_users', 'alice', '', 'SELECT id FROM api_keys', '2', 'people see their own keys'),
    ('authenticated_users', 'bob', '', 'SELECT id FROM api_keys', '1', 'and not those of others'),
    ('authenticated_users', 'carol', '', 'SELECT id FROM api_keys', '0', 'who has none sees none'),
    ('authenticated_users', '', '', 'SELECT id FROM api_keys', '0', 'without a user nobody sees any'),
    ('authenticated_users', '%', '', 'SELECT id FROM api_keys', '0', 'a pattern is no user'),
    ('authenticated_users', $$x' OR 'a'='a$$, '', 'SELECT id FROM api_keys', '0', 'nor is a condition'),
    ('authenticated_users', 'alice', '', 'SELECT key_hash FROM api_keys', '42501', 'nobody reads a hash'),
    ('authenticated_users', 'alice', '', 'SELECT * FROM api_keys', '42501', 'not with a star either'),
    ('authenticated_users', 'alice', '', 'SELECT FROM api_keys WHERE key_hash IS NOT NULL', '42501', 'nor compares one'),
    ('ctm_api', 'alice', '', 'SELECT id FROM api_keys', '2', 'the API sees what its user may'),
    ('ctm_api', '', '', 'SELECT id FROM api_keys', '0', 'and without one nothing'),
    ('ctm_api', 'alice', '', 'SELECT key_hash FROM api_keys', '42501', 'and no hash'),
    ('api_users', 'alice', '', 'SELECT id FROM api_keys', '42501', 'services have no access to keys'),
    ('readonly_users', 'alice', '', 'SELECT id FROM api_keys', '0', 'reports see no key, whatever user they set'),
    ('readonly_users', 'alice', '', 'SELECT key_hash FROM api_keys', '42501', 'and no hash'),
    ('ctm_query', '', '', 'SELECT id FROM api_keys', '3', 'administrators see every key'),
    ('ctm_query', '', '', 'SELECT key_hash FROM api_keys', '42501', 'less the hash'),
    ('ctm_owner', '', '', 'SELECT key_hash FROM api_keys', '3', 'the owner sees all'),
    ('ctm_migrator', '', '', 'SELECT key_hash FROM api_keys', '3', 'as does its member'),
    ('ctm_key_lookup', '', '', 'SELECT key_hash FROM api_keys', '3', 'and the role of the lookup'),
    ('ctm_monitor', '', '', 'SELECT id FROM api_keys', '42501', 'monitoring does not'),
    ('ctm_backup', '', '', 'SELECT id FROM api_keys', '42P01', 'backups do not even see the schema'),
    ('ctm_replicator', '', '', 'SELECT id FROM api_keys', '42P01', 'nor does replication'),
    -- api_keys: UPDATE
    ('authenticated_users', 'alice', '', $$UPDATE api_keys SET key_name = 'x'$$, '1', 'people rename their own active keys'),
    ('authenticated_users', 'alice', '', $$UPDATE api_keys SET key_name = 'x' WHERE user_id = 'bob'$$, '0', 'not those of others'),
    ('authenticated_users', 'alice', '', 'UPDATE api_keys SET is_active = false', '1', 'and end them'),
    ('authenticated_users', 'alice', '', 'UPDATE api_keys SET is_active = true WHERE NOT is_active', '0', 'what ended does not begin again'),
    ('authenticated_users', 'alice', '', $$UPDATE api_keys SET permissions = '["admin"]'$$, '42501', 'nobody raises their own permissions'),
    ('authenticated_users', 'alice', '', 'UPDATE api_keys SET rate_limit_per_hour = 1000000', '42501', 'or limits'),
    ('authenticated_users', 'alice', '', 'UPDATE api_keys SET rate_limit_per_day = 1000000', '42501', 'of the day'),
    ('authenticated_users', 'alice', '', 'UPDATE api_keys SET expires_at = NULL', '42501', 'or the end of a key'),
    ('authenticated_users', 'alice', '', $$UPDATE api_keys SET allowed_ips = '[]'$$, '42501', 'or where it may be used'),
    ('authenticated_users', 'alice', '', $$UPDATE api_keys SET allowed_endpoints = '[]'$$, '42501', 'or for what'),
    ('authenticated_users', 'alice', '', $$UPDATE api_keys SET user_id = 'bob'$$, '42501', 'or whose it is'),
    ('authenticated_users', 'alice', '', $$UPDATE api_keys SET key_hash = 'x'$$, '42501', 'or the hash'),
    ('authenticated_users', '', '', $$UPDATE api_keys SET key_name = 'x'$$, '0', 'without a user nothing is renamed'),
    ('ctm_api', 'alice', '', $$UPDATE api_keys SET permissions = '["admin"]'$$, '42501', 'the API raises no permissions'),
    ('ctm_api', 'alice', '', $$UPDATE api_keys SET usage_count = 0$$, '42501', 'nor resets a counter'),
    ('readonly_users', 'alice', '', $$UPDATE api_keys SET key_name = 'x'$$, '42501', 'reports change nothing'),
    ('api_users', 'alice', '', $$UPDATE api_keys SET key_name = 'x'$$, '42501', 'services neither'),
    ('ctm_query', 'alice', '', $$UPDATE api_keys SET key_name = 'x'$$, '42501', 'administrators'' queries neither'),
    ('ctm_key_lookup', '', '', 'UPDATE api_keys SET usage_count = 1', '3', 'the lookup counts uses'),
    ('ctm_key_lookup', '', '', $$UPDATE api_keys SET permissions = '["admin"]'$$, '42501', 'and changes nothing else'),
    ('ctm_owner', '', '', $$UPDATE api_keys SET permissions = '[]'$$, '3', 'the owner changes all'),
    -- api_keys: INSERT, DELETE, TRUNCATE
    ('authenticated_users', 'alice', '', $$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id) VALUES ('n', 'h', 'p', 'alice')$$, '42501', 'nobody makes a key by hand'),
    ('ctm_api', 'alice', '', $$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id) VALUES ('n', 'h', 'p', 'alice')$$, '42501', 'the API neither'),
    ('authenticated_users', 'alice', '', 'DELETE FROM api_keys', '42501', 'or deletes one'),
    ('ctm_api', 'alice', '', 'DELETE FROM api_keys', '42501', 'the API neither'),
    ('authenticated_users', 'alice', '', 'TRUNCATE api_keys', '42501', 'or empties the table'),
    ('ctm_owner', '', '', $$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id) VALUES ('n', 'h', 'p', 'u')$$, '1', 'the owner makes keys'),
    ('ctm_owner', '', '', 'DELETE FROM api_keys', '3', 'and deletes them'),
    -- api_access_logs
    ('authenticated_users', 'alice', '', 'SELECT FROM api_access_logs', '1', 'people see their own access'),
    ('authenticated_users', 'bob', '', 'SELECT FROM api_access_logs', '1', 'and not that of others'),
    ('authenticated_users', '', '', 'SELECT FROM api_access_logs', '0', 'without a user none, not even rows without one'),
    ('ctm_api', 'alice', '', 'SELECT FROM api_access_logs', '1', 'the API sees what its user may'),
    ('ctm_api', '', '', 'SELECT FROM api_access_logs', '0', 'and without one nothing'),
    ('readonly_users', 'alice', '', 'SELECT FROM api_access_logs', '0', 'reports see none'),
    ('api_users', 'alice', '', 'SELECT id FROM api_access_logs', '42501', 'services do not read it'),
    ('ctm_query', '', '', 'SELECT id FROM api_access_logs', '3', 'administrators see all'),
    ('ctm_query', '', '', 'SELECT request_body FROM api_access_logs', '42501', 'less what clients sent'),
    ('ctm_query', '', '', 'SELECT request_headers FROM api_access_logs', '42501', 'its headers'),
    ('ctm_query', '', '', 'SELECT response_body FROM api_access_logs', '42501', 'and got'),
    ('ctm_owner', '', '', 'SELECT FROM api_access_logs', '3', 'the owner sees all'),
    ('ctm_api', '', '', $$INSERT INTO api_access_logs (request_id, endpoint, method, user_id) VALUES ('r', '/', 'GET', 'alice')$$, '1', 'the API writes it'),
    ('api_users', '', '', $$INSERT INTO api_access_logs (request_id, endpoint, method, user_id) VALUES ('r', '/', 'GET', 'alice')$$, '1', 'as do services'),
    ('authenticated_users', 'alice', '', $$INSERT INTO api_access_logs (request_id, endpoint, method, user_id) VALUES ('r', '/', 'GET', 'alice')$$, '42501', 'people do not'),
    ('ctm_api', 'alice', '', $$UPDATE api_access_logs SET endpoint = '/x'$$, '42501', 'nobody changes it'),
    ('ctm_api', 'alice', '', 'DELETE FROM api_access_logs', '42501', 'or deletes from it'),
    ('authenticated_users', 'alice', '', 'DELETE FROM api_access_logs', '42501', 'people neither'),
    ('ctm_owner', '', '', 'DELETE FROM api_access_logs', '3', 'but the owner, for retention'),
    ('ctm_api', 'alice', '', 'SELECT FROM api_access_logs_default', '42501', 'there is no way past it to a partition'),
    ('readonly_users', '', '', 'SELECT FROM api_access_logs_legacy', '42501', 'for reports neither'),
    ('ctm_query', '', '', 'SELECT FROM api_access_logs_legacy', '42501', 'nor for administrators'' queries'),
    -- configuration_settings
    ('authenticated_users', '', '', 'SELECT FROM configuration_settings', '2', 'people see the settings of everywhere'),
    ('authenticated_users', '', 'production', 'SELECT FROM configuration_settings', '3', 'and of their environment'),
    ('authenticated_users', '', 'nonsense', 'SELECT FROM configuration_settings', '2', 'an unknown environment adds none'),
    ('authenticated_users', '', 'production', 'SELECT FROM configuration_settings WHERE is_encrypted OR is_sensitive', '0', 'secret ones never'),
    ('ctm_api', '', 'production', 'SELECT FROM configuration_settings', '3', 'the API too'),
    ('api_users', '', 'staging', 'SELECT FROM configuration_settings', '3', 'and services'),
    ('readonly_users', '', 'staging', 'SELECT FROM configuration_settings', '3', 'and reports'),
    ('readonly_users', '', 'staging', 'SELECT FROM configuration_settings WHERE is_encrypted OR is_sensitive', '0', 'secret ones never'),
    ('ctm_query', '', '', 'SELECT FROM configuration_settings', '4', 'administrators see every environment'),
    ('ctm_query', '', '', 'SELECT FROM configuration_settings WHERE is_encrypted OR is_sensitive', '0', 'but no secret'),
    ('ctm_owner', '', '', 'SELECT FROM configuration_settings', '6', 'the owner sees all'),
    ('ctm_api', '', 'production', $$UPDATE configuration_settings SET setting_value = '0'$$, '42501', 'the API changes none'),
    ('authenticated_users', '', '', $$UPDATE configuration_settings SET environment = 'all'$$, '42501', 'people neither'),
    ('readonly_users', '', '', 'DELETE FROM configuration_settings', '42501', 'reports neither'),
    ('api_users', '', '', $$INSERT INTO configuration_settings (setting_key, setting_value, setting_type) VALUES ('k', '1', 'number')$$, '42501', 'services add none'),
    ('ctm_owner', '', '', $$UPDATE configuration_settings SET description = 'd'$$, '6', 'the owner changes them'),
    ('ctm_owner', '', '', $$INSERT INTO configuration_settings (setting_key, setting_value, setting_type) VALUES ('k', '1', 'number')$$, '1', 'and adds some'),
    -- audit_logs
    ('readonly_users', '', '', $$SELECT FROM audit_logs WHERE action = 'create'$$, '1', 'reports see the audit of what they may see'),
    ('ctm_query', '', '', $$SELECT FROM audit_logs WHERE action = 'create'$$, '7', 'administrators all of it'),
    ('ctm_owner', '', '', $$SELECT FROM audit_logs WHERE action = 'create'$$, '7', 'as the owner'),
    ('ctm_api', 'alice', '', 'SELECT FROM audit_logs', '42501', 'the API none'),
    ('authenticated_users', 'alice', '', 'SELECT FROM audit_logs', '42501', 'people none'),
    ('readonly_users', '', '', 'DELETE FROM audit_logs', '42501', 'reports delete nothing'),
    ('ctm_query', '', '', 'DELETE FROM audit_logs', '42501', 'administrators'' queries neither'),
    ('ctm_api', '', '', 'TRUNCATE audit_logs', '42501', 'the API neither'),
    ('readonly_users', '', '', 'SELECT FROM audit_logs_legacy', '42501', 'there is no way past it to a partition'),
    ('readonly_users', '', '', $$SELECT FROM recent_activity WHERE action = 'create' AND entity_type <> 'task'$$, '0', 'nor through the view'),
    ('readonly_users', '', '', $$SELECT FROM recent_activity WHERE action = 'create'$$, '1', 'which shows the rest'),
    -- tasks carry none, as documented
    ('api_users', '', '', 'SELECT FROM tasks', (SELECT count(*)::text FROM tasks), 'services see every task'),
    ('ctm_api', 'alice', '', 'SELECT FROM tasks', (SELECT count(*)::text FROM tasks), 'as does the API for anybody'),
    ('authenticated_users', 'alice', '', 'SELECT FROM tasks', '42501', 'people only through it');

SELECT is(pg_temp.outcome(role_name, user_id, environment, statement), expected,
          format('%s (%s%s): %s', role_name, nullif(user_id, ''), nullif(environment, ''), rule))
FROM matrix ORDER BY place;

SELECT * FROM finish();
ROLLBACK;
