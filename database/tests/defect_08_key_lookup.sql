-- red on: v2
-- Row security hid the keys from the service that has to look one up.
BEGIN;
SELECT plan(2);
CREATE TEMPORARY TABLE made AS SELECT * FROM generate_api_key('n', 'alice');
GRANT SELECT ON made TO ctm_api;
SET LOCAL ROLE ctm_api;
SELECT lives_ok($$SELECT * FROM made, find_api_key(left(key, 20))$$, 'the API looks a key up');
SELECT is((SELECT user_id::text FROM made, find_api_key(left(key, 20))), 'alice', 'and learns whose it is');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
