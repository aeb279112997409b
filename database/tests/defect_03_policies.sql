-- red on: v2
-- Row security was switched on without a policy for those who work with the tables.
BEGIN;
SELECT plan(4);
SELECT is_empty(
    $$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity
        AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polcmd IN ('r', '*'))$$,
    'every guarded table has a policy for reading');
SELECT is_empty(
    $$SELECT relname FROM pg_class WHERE relname IN ('api_keys', 'api_access_logs', 'configuration_settings')
        AND NOT (relrowsecurity AND relforcerowsecurity)$$,
    'the owner of a guarded table is guarded too');
SELECT is_empty(
    $$SELECT relname FROM pg_class WHERE relname IN ('api_keys', 'api_access_logs', 'configuration_settings')
        AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND relowner = ANY (polroles) AND polcmd = '*')$$,
    'and has a policy of its own');
SET LOCAL ROLE api_users;
SELECT lives_ok($$INSERT INTO api_access_logs (request_id, endpoint, method) VALUES ('r', '/', 'GET')$$,
    'a service can log an access');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
