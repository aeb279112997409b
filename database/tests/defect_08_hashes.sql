-- red on: v2
-- readonly_users could read key hashes, from the table and from their copies in the audit log.
BEGIN;
SELECT plan(2);
INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id) VALUES ('n', repeat('e', 64), 'p', 'u');
UPDATE api_keys SET key_hash = repeat('f', 64) WHERE key_hash = repeat('e', 64);
SET LOCAL ROLE readonly_users;
SELECT is_empty($$SELECT id FROM audit_logs WHERE audit_logs::text LIKE '%eeeeeeee%' OR audit_logs::text LIKE '%ffffffff%'$$,
    'no hash is in the audit log');
SELECT throws_ok('SELECT key_hash FROM api_keys', '42501', NULL, 'nor readable in the table');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
