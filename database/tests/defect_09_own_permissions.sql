-- red on: v2
-- The owner of a key could change all of it: its permissions, its limits, its end.
BEGIN;
SELECT plan(4);
INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id, permissions) VALUES ('n', 'h', 'p', 'alice', '["read:tasks"]');
SET LOCAL app.current_user_id = 'alice';
-- Without triggers: the document's audit refused people everything, which is another defect.
SET LOCAL session_replication_role = replica;
SET LOCAL ROLE authenticated_users;
SELECT throws_ok($$UPDATE api_keys SET permissions = '["admin"]' WHERE user_id = 'alice'$$, '42501', NULL, 'permissions stay');
SELECT throws_ok($$UPDATE api_keys SET rate_limit_per_hour = 1000000 WHERE user_id = 'alice'$$, '42501', NULL, 'as do limits');
SELECT throws_ok($$UPDATE api_keys SET expires_at = NULL WHERE user_id = 'alice'$$, '42501', NULL, 'and the end');
SELECT throws_ok($$INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id, permissions)
                   VALUES ('n', 'i', 'p', 'alice', '["admin"]')$$, '42501', NULL, 'nobody gives themselves a key');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
