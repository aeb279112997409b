-- The seals over the audit log: what is altered, missing or added is named; what retention removed is not.
BEGIN;
SELECT plan(37);

TRUNCATE audit_logs, audit_seals;
INSERT INTO audit_logs (id, entity_type, entity_id, action, new_values, "timestamp")
SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'task', uuid_nil(), 'create',
       jsonb_build_object('n', n), now() - interval '100 days' + n * interval '20 minutes'
FROM generate_series(1, 30) n;
INSERT INTO audit_logs (id, entity_type, entity_id, action, "timestamp")
VALUES ('00000000-0000-4000-8000-000000000099', 'task', uuid_nil(), 'delete', now() - interval '1 day');

SELECT is((SELECT intact FROM verify_audit_log()), true, 'a log without seals is intact');
-- 31 of ours and the audit row of the TRUNCATE, which is of this hour.
SELECT is((SELECT rows_not_sealed FROM verify_audit_log()), 32::bigint, 'and says what is not sealed');
SELECT is(seal_audit_log(), 31::bigint, 'what is older than this hour is sealed');
SELECT is(seal_audit_log(), 0::bigint, 'once');
SELECT cmp_ok((SELECT count(*) FROM audit_seals), '>=', 10::bigint, 'a seal holds an hour');
SELECT is_empty(
    $$SELECT FROM (SELECT period_start, lag(period_end) OVER (ORDER BY number) AS before FROM audit_seals) seals
      WHERE period_start <> before$$,
    'no moment is between two seals');
SELECT is((SELECT ROW(intact, rows_verified, rows_not_sealed)::text FROM verify_audit_log()), '(t,31,1)',
    'what is as it was sealed is intact');
SELECT is(seal_audit_log(including_now => true), 1::bigint, 'the current hour is sealed on demand');
SELECT is((SELECT rows_not_sealed FROM verify_audit_log()), 0::bigint, 'and then verified like the rest');

-- Each of these is undone, and the log intact again.
CREATE FUNCTION pg_temp.after(tampering text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    verdict text;
BEGIN
    BEGIN
        EXECUTE tampering;
        SELECT format('%s %s', problem, coalesce(row_id::text, seal_number::text)) INTO verdict
        FROM verify_audit_log();
        RAISE EXCEPTION SQLSTATE 'UNDO1';
    EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
        RETURN verdict;
    END;
END
$$;
SELECT is(pg_temp.after($$UPDATE audit_logs SET new_values = '{"n": 0}' WHERE new_values = '{"n": 7}'$$),
    'row altered 00000000-0000-4000-8000-000000000007', 'an altered row is named');
SELECT is(pg_temp.after($$UPDATE audit_logs SET user_id = 'somebody else' WHERE new_values = '{"n": 7}'$$),
    'row altered 00000000-0000-4000-8000-000000000007', 'whichever column was altered');
SELECT is(pg_temp.after($$UPDATE audit_logs SET ip_address = '10.0.0.1' WHERE new_values = '{"n": 7}'$$),
    'row altered 00000000-0000-4000-8000-000000000007', 'the address too');
SELECT is(pg_temp.after($$UPDATE audit_logs SET metadata = '{"a": 1}' WHERE new_values = '{"n": 7}'$$),
    'row altered 00000000-0000-4000-8000-000000000007', 'and the metadata');
SELECT is(pg_temp.after($$UPDATE audit_logs SET "timestamp" = "timestamp" + interval '1 microsecond'
                          WHERE new_values = '{"n": 7}'$$),
    'row altered 00000000-0000-4000-8000-000000000007', 'and a microsecond of its time');
SELECT is(pg_temp.after($$UPDATE audit_logs SET new_values = '{"n": 0}'
                          WHERE new_values IN ('{"n": 20}', '{"n": 5}', '{"n": 12}')$$),
    'row altered 00000000-0000-4000-8000-000000000005', 'of several the first is named');
SELECT is(pg_temp.after($$DELETE FROM audit_logs WHERE new_values = '{"n": 9}'$$),
    'row missing 00000000-0000-4000-8000-000000000009', 'a missing row is named');
SELECT is(pg_temp.after($$DELETE FROM audit_logs WHERE new_values IS NOT NULL$$),
    'row missing 00000000-0000-4000-8000-000000000001', 'of many the first');
SELECT is(pg_temp.after($$UPDATE audit_logs SET "timestamp" = now() - interval '2 days' WHERE new_values = '{"n": 9}'$$),
    'row missing 00000000-0000-4000-8000-000000000009', 'a row moved to another time is missing where it was');
SELECT is(pg_temp.after($$INSERT INTO audit_logs (id, entity_type, entity_id, action, "timestamp")
                          VALUES ('00000000-0000-4000-8000-0000000000bb', 'task', uuid_nil(), 'create',
                                  now() - interval '50 days')$$),
    'row added 00000000-0000-4000-8000-0000000000bb', 'an added row is named');
SELECT is(pg_temp.after('TRUNCATE audit_logs'),
    'row missing 00000000-0000-4000-8000-000000000001', 'an emptied log is not intact');
SELECT is(pg_temp.after('DELETE FROM audit_seals WHERE number = 3'), 'seal missing 3', 'a missing seal is named');
SELECT is(pg_temp.after('UPDATE audit_seals SET row_count = 0, row_digests = ''''  WHERE number = 3'),
    'seal altered 3', 'an altered seal is named');
SELECT is(pg_temp.after('UPDATE audit_seals SET row_digests = NULL WHERE number = 3'),
    'seal altered 3', 'a seal whose digests somebody removed is altered');
SELECT is(pg_temp.after($$UPDATE audit_seals SET kind = 'retention', row_digests = NULL
                          WHERE number = (SELECT max(number) FROM audit_seals)$$),
    format('seal altered %s', (SELECT max(number) FROM audit_seals)),
    'nobody makes a seal into a retention''s');

SELECT is(pg_temp.after($$DELETE FROM audit_logs WHERE new_values = '{"n": 9}'; SELECT cleanup_old_logs(90)$$),
    format('row missing %s', (SELECT max(number) + 1 FROM audit_seals)),
    'retention does not hide that a row was missing');
SELECT is(pg_temp.after($$INSERT INTO audit_logs (entity_type, entity_id, action, "timestamp")
                          VALUES ('task', uuid_nil(), 'create', now() - interval '99 days 20 hours');
                          SELECT cleanup_old_logs(90)$$),
    format('row added %s', (SELECT max(number) + 1 FROM audit_seals)), 'nor that one was added');
SELECT is(pg_temp.after($$DELETE FROM audit_logs WHERE new_values IS NOT NULL;
                          UPDATE audit_seals SET row_digests = NULL WHERE period_end < now() - interval '90 days';
                          SELECT append_audit_seal('retention', '-infinity',
                              (SELECT max(period_end) FROM audit_seals
                               WHERE period_end < now() - interval '90 days'), 3, NULL)$$),
    format('row missing %s', (SELECT max(number) + 1 FROM audit_seals)), 'nor is a retention believed that counts others');
SELECT is(pg_temp.after($$SELECT cleanup_old_logs(95); SELECT cleanup_old_logs(90)$$), ' ',
    'retention twice is accepted');
SELECT is(pg_temp.after($$DELETE FROM audit_seals;
                          INSERT INTO audit_logs (entity_type, entity_id, action, "timestamp")
                          VALUES ('task', uuid_nil(), 'create', '-infinity'),
                                 ('task', uuid_nil(), 'create', '1000-01-01 BC');
                          SELECT seal_audit_log(true)$$), ' ',
    'rows of no time, as a database made by hand may have, are sealed too');

-- Rewritten as a whole by somebody who may do everything.
SELECT is(pg_temp.after($$UPDATE audit_logs SET new_values = '{"n": 0}' WHERE new_values = '{"n": 7}';
                          DELETE FROM audit_seals; SELECT seal_audit_log(true)$$), ' ',
    'a chain rewritten as a whole looks intact by itself');
CREATE TEMPORARY TABLE kept AS SELECT audit_chain_head() AS head;
SELECT is((SELECT intact FROM kept, verify_audit_log(head)), true, 'a head that was kept is found in the chain');
UPDATE audit_logs SET new_values = '{"n": 0}' WHERE new_values = '{"n": 7}';
CREATE TEMPORARY TABLE kept_seals AS TABLE audit_seals;
DELETE FROM audit_seals;
SELECT seal_audit_log(true);
SELECT is((SELECT problem FROM kept, verify_audit_log(head)), 'chain replaced', 'but not in a rewritten one');
UPDATE audit_logs SET new_values = '{"n": 7}' WHERE new_values = '{"n": 0}';
DELETE FROM audit_seals;
INSERT INTO audit_seals TABLE kept_seals;
DELETE FROM audit_logs WHERE entity_type = 'audit_log' AND action <> 'truncate';
SELECT is((SELECT ROW(intact, problem)::text FROM kept, verify_audit_log(head)), '(t,)', 'put back, it is intact');

SELECT cmp_ok(cleanup_old_logs(90), '>=', 30, 'retention removes the old rows');
SELECT is((SELECT ROW(intact, rows_removed, problem)::text FROM kept, verify_audit_log(head)), '(t,30,)',
    'what retention removed is accepted');
SELECT is(pg_temp.after($$DELETE FROM audit_logs WHERE id = '00000000-0000-4000-8000-000000000099'$$),
    'row missing 00000000-0000-4000-8000-000000000099', 'and nothing else is');
SELECT is(pg_temp.after($$INSERT INTO audit_logs (id, entity_type, entity_id, action, "timestamp")
                          VALUES ('00000000-0000-4000-8000-0000000000bb', 'task', uuid_nil(), 'create',
                                  now() - interval '95 days')$$),
    'row added 00000000-0000-4000-8000-0000000000bb', 'a row added where retention removed all is named');

SELECT * FROM finish();
ROLLBACK;
