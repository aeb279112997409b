-- The logs by month: partitions made ahead, retention, ids ordered by time.
BEGIN;
SELECT plan(42);
SET LOCAL TimeZone = 'America/New_York';

SELECT is(partstrat::text, 'r', format('%s is partitioned', name))
FROM log_tables() JOIN pg_partitioned_table ON partrelid = name::regclass ORDER BY name;
SELECT is(
    (SELECT count(*)::integer FROM log_partitions(name)
     WHERE upper_bound AT TIME ZONE 'UTC' > date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months'), 2,
    format('%s has partitions for three months ahead', name))
FROM log_tables() ORDER BY name;
SELECT is_empty(
    $$SELECT FROM log_tables() logs, log_partitions(logs.name) partition
      WHERE partition.upper_bound <> date_trunc('month', partition.upper_bound, 'UTC')$$,
    'a partition ends where a month of UTC does');
SELECT is_empty(
    $$SELECT logs.name FROM log_tables() logs WHERE to_regclass(logs.name || '_default') IS NULL
         OR to_regclass(logs.name || '_legacy') IS NULL$$,
    'each log has a partition for what is older, and one for what is in none');
SELECT is_empty(
    $$SELECT FROM log_tables() logs JOIN pg_inherits ON inhparent = logs.name::regclass
      JOIN pg_class ON pg_class.oid = inhrelid WHERE relowner <> 'ctm_owner'::regrole$$,
    'the owner owns the partitions');

-- Where rows go
INSERT INTO system_metrics (metric_category, metric_name, metric_value, "timestamp") VALUES
    ('api', 'now', 1, now()), ('api', 'old', 1, now() - interval '10 years'),
    ('api', 'far', 1,
     (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '6 months 1 day') AT TIME ZONE 'UTC');
SELECT is((SELECT tableoid::regclass::text FROM system_metrics WHERE metric_name = 'now'),
    format('system_metrics_%s', to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')), 'a row goes into its month');
SELECT is((SELECT tableoid::regclass::text FROM system_metrics WHERE metric_name = 'old'), 'system_metrics_legacy',
    'an old one to what is older');
SELECT is((SELECT tableoid::regclass::text FROM system_metrics WHERE metric_name = 'far'), 'system_metrics_default',
    'one that nothing was made for is not refused');
SELECT is(create_log_partitions(8), 20, 'making five months more makes five partitions of each log');
SELECT is(create_log_partitions(8), 0, 'and no second time');
SELECT is((SELECT tableoid::regclass::text FROM system_metrics WHERE metric_name = 'far'),
    format('system_metrics_%s', to_char((now() AT TIME ZONE 'UTC') + interval '6 months', 'YYYY_MM')),
    'rows that came before their partition move into it');
SELECT throws_ok('SELECT create_log_partitions(-1)', '22023', NULL, 'months ahead are not negative');
SELECT throws_ok(
    $$INSERT INTO audit_logs (entity_type, entity_id, action, "timestamp") VALUES ('task', uuid_nil(), 'create', NULL)$$,
    '23502', NULL, 'a log row has a time');

-- Row security of partitions
SELECT is_empty(
    $$SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
      WHERE inhparent IN ('audit_logs'::regclass, 'api_access_logs'::regclass)
        AND NOT (relrowsecurity AND relforcerowsecurity)$$,
    'partitions of guarded logs are guarded themselves');
SELECT is_empty(
    $$SELECT inhrelid::regclass, grantee FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid,
             aclexplode(relacl) WHERE grantee <> relowner$$,
    'nobody has a privilege on a partition');

-- Ids
SELECT is(substring(time_ordered_uuid()::text FROM 15 FOR 1), '7', 'an id of a log row has version 7');
SELECT matches(substring(time_ordered_uuid()::text FROM 20 FOR 1), '[89ab]', 'and the variant of the standard');
SELECT is(
    (('x' || substring(replace(time_ordered_uuid()::text, '-', '') FROM 1 FOR 12))::bit(48)::bigint / 10000)::bigint,
    floor(extract(epoch FROM clock_timestamp()) / 10)::bigint, 'it begins with the time');
CREATE TEMPORARY TABLE first_id AS SELECT time_ordered_uuid() AS id;
SELECT pg_sleep(0.002);
SELECT cmp_ok((SELECT id FROM first_id), '<', time_ordered_uuid(), 'a later one is greater');
SELECT is((SELECT count(DISTINCT time_ordered_uuid())::integer FROM generate_series(1, 1000)), 1000, 'each is another');

-- Retention
DELETE FROM audit_seals;
TRUNCATE audit_logs, system_metrics, performance_metrics, api_access_logs, error_logs CASCADE;
CREATE FUNCTION pg_temp.fill() RETURNS void LANGUAGE sql AS $$
    INSERT INTO audit_logs (entity_type, entity_id, action, "timestamp")
    SELECT 'task', uuid_nil(), 'create', now() - make_interval(days => d) FROM unnest('{10,40,100}'::integer[]) d;
    INSERT INTO api_access_logs (request_id, endpoint, method, created_at)
    SELECT 'r', '/', 'GET', now() - make_interval(days => d) FROM unnest('{10,40,100}'::integer[]) d;
    INSERT INTO system_metrics (metric_category, metric_name, metric_value, "timestamp")
    SELECT 'api', 'n', 1, now() - make_interval(days => d) FROM unnest('{10,40,100}'::integer[]) d;
    INSERT INTO performance_metrics (metric_type, "timestamp")
    SELECT 'query', now() - make_interval(days => d) FROM unnest('{10,40,100}'::integer[]) d;
    INSERT INTO error_logs (error_type, error_message, resolved, resolved_at)
    SELECT 'runtime', 'm', true, now() - make_interval(days => d) FROM unnest('{10,40,100}'::integer[]) d;
    INSERT INTO error_logs (error_type, error_message, resolved, created_at)
    VALUES ('runtime', 'unresolved', false, now() - interval '100 days');
$$;
SELECT pg_temp.fill();
SELECT is(cleanup_old_logs(), 5, 'without an argument it is 90 days, and answers how many rows are gone');
SELECT is(cleanup_old_logs(90), 0, 'a second time none is');
SELECT is((SELECT count(*)::integer FROM error_logs WHERE error_message = 'unresolved'), 1, 'unresolved errors stay');
-- Longer than a month: what is older than the months was needs its partition until the end.
SELECT is(cleanup_old_logs(35), 5, 'fewer days remove more');
SELECT is((SELECT count(*)::integer FROM api_access_logs), 1, 'what is younger stays');
SELECT is(cleanup_old_logs(2147483647), 0, 'more days than there are dates remove nothing');
SELECT is(retention_days('error_logs', 2147483647), 365000, 'and are a thousand years');
SELECT throws_ok('SELECT cleanup_old_logs(0)', '22023', NULL, 'not everything can be removed');
SELECT throws_ok('SELECT cleanup_old_logs(NULL)', '22023', NULL, 'nor an unknown number of days');

INSERT INTO configuration_settings (setting_key, setting_value, setting_type)
VALUES ('retention.api_access_logs_days', '365', 'number'), ('retention.error_logs_days', '"5"', 'string');
UPDATE configuration_settings SET setting_value = '20' WHERE setting_key = 'monitoring.metrics_retention_days';
SELECT is(retention_days('api_access_logs', 90), 365, 'a table''s own setting goes before the argument');
SELECT is(retention_days('error_logs', 90), 5, 'also when it is text');
SELECT is(retention_days('system_metrics', 90), 20, 'metrics are not kept longer than their setting says');
SELECT is(retention_days('system_metrics', 7), 7, 'but shorter if asked');
SELECT is(retention_days('audit_logs', 90), 90, 'other tables follow the argument');

-- A month as a whole
DELETE FROM configuration_settings WHERE setting_key LIKE 'retention.%';
SET LOCAL ROLE ctm_owner;
ALTER TABLE performance_metrics DETACH PARTITION performance_metrics_legacy;
CREATE TABLE performance_metrics_2001_01 PARTITION OF performance_metrics
    FOR VALUES FROM ('2001-01-01 00:00+00') TO ('2001-02-01 00:00+00');
RESET ROLE;
INSERT INTO performance_metrics (metric_type, "timestamp") SELECT 'task', '2001-01-15' FROM generate_series(1, 7);
SELECT is(cleanup_old_logs(4000), 7, 'rows of a month that is dropped are counted');
SELECT hasnt_table('performance_metrics_2001_01', 'the month is gone');

SELECT * FROM finish();
ROLLBACK;
