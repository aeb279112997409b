-- Keys: made, found, counted, replaced and ended.
BEGIN;
SELECT plan(46);

CREATE TEMPORARY TABLE made AS
SELECT * FROM generate_api_key('deploy', 'alice', '["read:tasks", "write:tasks"]', 500, 30, 5000,
                               '["203.0.113.0/24"]', '["/api/database/tasks"]', '{"team": "a"}');
GRANT SELECT ON made TO ctm_api;
SELECT matches((SELECT key FROM made), '^ctm_[0-9a-f]{64}$', 'a key is ctm_ and 64 hex digits');
SELECT is(
    (SELECT ROW(key_name, key_hash, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
                allowed_ips, allowed_endpoints, is_active, usage_count, metadata)::text
     FROM api_keys WHERE id = (SELECT id FROM made)),
    (SELECT ROW('deploy', encode(sha256(convert_to(key, 'UTF8')), 'hex'), left(key, 20), 'alice',
                '["read:tasks", "write:tasks"]'::jsonb, 500, 5000, '["203.0.113.0/24"]'::jsonb,
                '["/api/database/tasks"]'::jsonb, true, 0, '{"team": "a"}'::jsonb)::text FROM made),
    'stored are its hash, its first 20 characters, and what it may');
SELECT is((SELECT expires_at FROM api_keys WHERE id = (SELECT id FROM made)), now() + interval '30 days', 'and its end');
SELECT is_empty($$SELECT FROM api_keys, made WHERE api_keys::text LIKE '%' || key || '%'$$, 'not the key');
SELECT is_empty($$SELECT FROM audit_logs, made WHERE audit_logs::text LIKE '%' || key || '%'
                  OR audit_logs::text LIKE '%' || encode(sha256(convert_to(key, 'UTF8')), 'hex') || '%'$$,
    'and neither key nor hash in the audit log');
CREATE TEMPORARY TABLE plain AS SELECT * FROM generate_api_key('n', 'u');
SELECT is((SELECT ROW(rate_limit_per_hour, rate_limit_per_day, expires_at, permissions, allowed_ips)::text
           FROM plain JOIN api_keys USING (id)),
    ROW(1000, 10000, now() + interval '365 days', '[]'::jsonb, '[]'::jsonb)::text,
    'limits and expiry come from the settings, and permissions from nowhere');
UPDATE configuration_settings SET setting_value = '7' WHERE setting_key IN
    ('security.api_key_expiry_days', 'api.rate_limit.default_per_hour', 'api.rate_limit.default_per_day');
CREATE TEMPORARY TABLE plain_later AS SELECT * FROM generate_api_key('n', 'u');
SELECT is((SELECT ROW(rate_limit_per_hour, rate_limit_per_day, expires_at)::text
           FROM plain_later JOIN api_keys USING (id)),
    ROW(7, 7, now() + interval '7 days')::text, 'as they are now');
SELECT isnt((SELECT key FROM generate_api_key('n', 'u')), (SELECT key FROM generate_api_key('n', 'u')), 'each key is another');

SELECT throws_ok($$SELECT generate_api_key('n', 'u', '["write:everything"]')$$, '22023',
    'there is no permission ''write:everything''', 'an unknown permission is refused');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', '{"admin": true}')$$, '22023', NULL, 'permissions are a list');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', '[null]')$$, '22023', NULL, 'of names');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', p_allowed_ips => '["10.0.0.999"]')$$, '22023',
    '''10.0.0.999'' is no address or network', 'a mistyped address is refused');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', p_allowed_ips => '[null]')$$, '22023', NULL, 'as is none');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', p_allowed_ips => NULL)$$, '22023', NULL, 'addresses are a list');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', p_allowed_endpoints => '[""]')$$, '22023', NULL,
    'an empty endpoint is refused');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', '[]', 100, 0)$$, '22023', NULL, 'a key is valid for a day at least');
SELECT throws_ok($$SELECT generate_api_key('n', 'u', '[]', 0)$$, '23514', NULL, 'a limit of nothing is refused');
SELECT throws_ok($$SELECT generate_api_key(' ', 'u')$$, '22023', NULL, 'a key has a name');
SELECT throws_ok($$SELECT generate_api_key('n', NULL)$$, '22023', NULL, 'and a user');

-- As the API
SET LOCAL SESSION AUTHORIZATION ctm_api;
SELECT is((SELECT ROW(found.id, key_hash, user_id, permissions, rate_limit_per_hour, rate_limit_per_day, allowed_ips,
                      allowed_endpoints, is_active)::text
           FROM made, find_api_key(left(key, 20)) found),
    (SELECT ROW(id, encode(sha256(convert_to(key, 'UTF8')), 'hex'), 'alice', '["read:tasks", "write:tasks"]'::jsonb,
                500, 5000, '["203.0.113.0/24"]'::jsonb, '["/api/database/tasks"]'::jsonb, true)::text FROM made),
    'the API finds a key that it was given');
SELECT is_empty($$SELECT FROM find_api_key('ctm_')$$, 'and not by less than 20 characters');
SELECT is_empty($$SELECT FROM find_api_key('%')$$, 'nor by a pattern');
SELECT is_empty($$SELECT FROM find_api_key('')$$, 'nor by nothing');
SELECT is_empty($$SELECT FROM find_api_key(NULL)$$, 'nor by null');
SELECT lives_ok(
    $$SELECT record_api_key_usage(ARRAY[id, id], '{3,4}', ARRAY[now() - interval '1 minute', now() - interval '2 minutes'])
      FROM made$$,
    'the API counts uses');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT ROW(usage_count, last_used_at)::text FROM api_keys WHERE id = (SELECT id FROM made)),
    ROW(7, now() - interval '1 minute')::text, 'of a key several at once');
SELECT record_api_key_usage(ARRAY[id], '{1}', ARRAY[now() - interval '1 hour']) FROM made;
SELECT is((SELECT last_used_at FROM api_keys WHERE id = (SELECT id FROM made)), now() - interval '1 minute',
    'the last use only moves forward');
SELECT record_api_key_usage(ARRAY[id], '{1}', ARRAY[now() + interval '1 year']) FROM made;
SELECT is((SELECT last_used_at FROM api_keys WHERE id = (SELECT id FROM made)), now(), 'and not into the future');
SELECT record_api_key_usage(ARRAY[id], '{-100}', ARRAY[now()]) FROM made;
SELECT is((SELECT usage_count FROM api_keys WHERE id = (SELECT id FROM made)), 9, 'and counts nothing back');
SELECT record_api_key_usage(ARRAY[id, id], '{2147483647,2147483647}', ARRAY[now(), now()]) FROM made;
SELECT is((SELECT usage_count FROM api_keys WHERE id = (SELECT id FROM made)), 2147483647, 'a full counter stays full');
SELECT is((SELECT ARRAY[pg_get_userbyid(a.proowner), pg_get_userbyid(b.proowner)]::text[]
           FROM pg_proc a, pg_proc b WHERE a.proname = 'find_api_key' AND b.proname = 'record_api_key_usage'),
    '{ctm_key_lookup,ctm_key_lookup}', 'both functions belong to a role that may nothing else');
SELECT is((SELECT rolcanlogin FROM pg_roles WHERE rolname = 'ctm_key_lookup'), false, 'and is no login');
SELECT ok(NOT has_schema_privilege('ctm_key_lookup', 'public', 'CREATE'), 'and creates nothing');

-- Rotation
CREATE TEMPORARY TABLE next AS SELECT rotated.* FROM made, rotate_api_key(made.id, interval '1 day') rotated;
SELECT is((SELECT ROW(key_name, user_id, permissions, rate_limit_per_hour, rate_limit_per_day, allowed_ips,
                      allowed_endpoints, is_active, usage_count, expires_at)::text
           FROM api_keys WHERE id = (SELECT id FROM next)),
    ROW('deploy', 'alice', '["read:tasks", "write:tasks"]'::jsonb, 500, 5000, '["203.0.113.0/24"]'::jsonb,
        '["/api/database/tasks"]'::jsonb, true, 0, now() + interval '30 days')::text,
    'the new key may what the old one may, as long again');
SELECT is((SELECT encode(sha256(convert_to(key, 'UTF8')), 'hex') FROM next),
    (SELECT key_hash::text FROM api_keys WHERE id = (SELECT id FROM next)), 'and is another');
SELECT is((SELECT metadata ->> 'replaces' FROM api_keys WHERE id = (SELECT id FROM next)), (SELECT id::text FROM made),
    'and says what it replaces');
SELECT is((SELECT ROW(is_active, expires_at)::text FROM api_keys WHERE id = (SELECT id FROM made)),
    ROW(true, now() + interval '1 day')::text, 'the old one works for the overlap');
SELECT lives_ok($$SELECT rotate_api_key(id) FROM next$$, 'without an overlap');
SELECT is((SELECT is_active FROM api_keys WHERE id = (SELECT id FROM next)), false, 'it ends at once');
SELECT throws_ok($$SELECT rotate_api_key(id) FROM next$$, '55000', NULL, 'an ended key is not rotated');
SELECT throws_ok('SELECT rotate_api_key(uuid_nil())', 'P0002', NULL, 'nor one that does not exist');
SELECT throws_ok($$SELECT rotate_api_key(id, interval '-1 day') FROM made$$, '22023', NULL, 'an overlap is not negative');

-- End
SELECT is((SELECT revoke_api_key(id) FROM made), true, 'ending a key answers that it was active');
SELECT is((SELECT is_active FROM api_keys WHERE id = (SELECT id FROM made)), false, 'and ends it');
SELECT is((SELECT revoke_api_key(id) FROM made), false, 'a second time there is nothing to end');
SELECT throws_ok('SELECT revoke_api_key(uuid_nil())', 'P0002', NULL, 'a key that does not exist cannot end');

SELECT * FROM finish();
ROLLBACK;
