-- Encrypted settings, and the defaults of the document.
BEGIN;
SELECT plan(27);

SELECT is_empty($$
    SELECT * FROM (VALUES
        ('api.rate_limit.default_per_hour', '1000'), ('api.rate_limit.default_per_day', '10000'),
        ('api.request_timeout_ms', '30000'), ('database.connection_pool.min', '2'),
        ('database.connection_pool.max', '20'), ('security.api_key_expiry_days', '365'),
        ('monitoring.metrics_retention_days', '90'), ('webhook.max_retry_attempts', '3'),
        ('deployment.default_timeout_seconds', '300')) AS documented
    EXCEPT SELECT setting_key::text, setting_value::text FROM configuration_settings
    WHERE setting_type = 'number' AND environment = 'all' AND NOT is_encrypted AND NOT is_sensitive$$,
    'the default settings of the document are there');

-- The keys, and the values to look for, as settings of the test alone.
CREATE FUNCTION pg_temp.key(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$SELECT encode(sha256(n::text::bytea), 'hex')$$;
GRANT EXECUTE ON FUNCTION pg_temp.key(integer) TO PUBLIC;

SELECT lives_ok($$SELECT set_encrypted_setting('smtp.password', '"pa55word"', pg_temp.key(1))$$, 'a setting is encrypted');
SELECT is((SELECT ROW(setting_type, is_encrypted, is_sensitive, environment)::text
           FROM configuration_settings WHERE setting_key = 'smtp.password'),
    '(encrypted,t,t,all)', 'and says so');
SELECT is_empty($$SELECT FROM configuration_settings WHERE configuration_settings::text LIKE '%pa55word%'$$,
    'its value is not in the table');
SELECT is_empty($$SELECT FROM audit_logs WHERE audit_logs::text LIKE '%pa55word%' OR audit_logs::text LIKE '%PGP MESSAGE%'$$,
    'nor, encrypted or not, in the audit log');
SELECT is_empty($$SELECT FROM pg_settings WHERE setting LIKE '%' || pg_temp.key(1) || '%'$$, 'no server setting has the key');
SELECT is(get_encrypted_setting('smtp.password', pg_temp.key(1)), '"pa55word"'::jsonb, 'with the key it is read');
SELECT throws_ok($$SELECT get_encrypted_setting('smtp.password', pg_temp.key(2))$$, '39000',
    'setting ''smtp.password'' cannot be decrypted with this key', 'with another it is not');
SELECT throws_ok($$SELECT get_encrypted_setting('smtp.password', NULL)$$, '39000', NULL, 'without one neither');
SELECT is(get_encrypted_setting('no.such.setting', pg_temp.key(1)), NULL, 'a setting that does not exist has no value');
SELECT is(get_encrypted_setting('api.request_timeout_ms', pg_temp.key(1)), NULL, 'nor has one that is in clear');
SELECT throws_ok($$SELECT set_encrypted_setting('k', '1', 'short')$$, '22023', NULL, 'a short key is refused');
SELECT throws_ok($$SELECT set_encrypted_setting('k', NULL, pg_temp.key(1))$$, '22004', NULL, 'as is no value');
SELECT lives_ok($$SELECT set_encrypted_setting('smtp.password', '{"user": "u"}', pg_temp.key(1), 'production', 'd', 'alice')$$,
    'it is set again');
SELECT is((SELECT ROW(environment, description, updated_by)::text FROM configuration_settings WHERE setting_key = 'smtp.password'),
    '(production,d,alice)', 'with environment, description and who did it');
SELECT set_encrypted_setting('smtp.password', '{"user": "v"}', pg_temp.key(1));
SELECT is((SELECT ROW(environment, description)::text FROM configuration_settings WHERE setting_key = 'smtp.password'),
    '(production,d)', 'which stay where none is given');
SELECT is(get_encrypted_setting('smtp.password', pg_temp.key(1)), NULL, 'it is not of this environment');
SET LOCAL app.current_environment = 'production';
SELECT is(get_encrypted_setting('smtp.password', pg_temp.key(1)), '{"user": "v"}'::jsonb, 'but of its own');

SELECT set_encrypted_setting('other', '"o"', pg_temp.key(1));
UPDATE configuration_settings SET setting_value = (SELECT setting_value FROM configuration_settings WHERE setting_key = 'other')
WHERE setting_key = 'smtp.password';
SELECT throws_ok($$SELECT get_encrypted_setting('smtp.password', pg_temp.key(1))$$, 'XX001', NULL,
    'a value moved from another setting is not taken for its own');
SELECT set_encrypted_setting('smtp.password', '"p"', pg_temp.key(1));

SELECT throws_ok($$SELECT rotate_encrypted_settings(pg_temp.key(2), pg_temp.key(3))$$, '39000', NULL,
    'the wrong old key rotates nothing');
SELECT is(rotate_encrypted_settings(pg_temp.key(1), pg_temp.key(2)), 2, 'the right one rotates all');
SELECT is(get_encrypted_setting('smtp.password', pg_temp.key(2)), '"p"'::jsonb, 'the new key reads');
SELECT throws_ok($$SELECT get_encrypted_setting('smtp.password', pg_temp.key(1))$$, '39000', NULL, 'the old one no longer');

SET LOCAL SESSION AUTHORIZATION ctm_api;
SELECT is(get_encrypted_setting('smtp.password', pg_temp.key(2)), '"p"'::jsonb, 'the API reads it with the key');
SELECT is_empty($$SELECT FROM configuration_settings WHERE is_encrypted$$, 'and without sees nothing of it');
SELECT throws_ok($$SELECT set_encrypted_setting('k', '1', pg_temp.key(2))$$, '42501', NULL, 'and sets none');
SELECT throws_ok($$SELECT rotate_encrypted_settings(pg_temp.key(2), pg_temp.key(3))$$, '42501', NULL, 'nor rotates');
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
ROLLBACK;
