-- red on: v2
-- cleanup_old_logs did not run.
BEGIN;
SELECT plan(2);
INSERT INTO system_metrics (metric_category, metric_name, metric_value, "timestamp")
VALUES ('api', 'n', 1, now() - interval '91 days'), ('api', 'n', 1, now() - interval '89 days');
INSERT INTO error_logs (error_type, error_message, resolved, resolved_at)
VALUES ('runtime', 'm', true, now() - interval '91 days');
SELECT is(cleanup_old_logs(90), 2, 'the clean-up answers how many rows are gone');
SELECT is((SELECT count(*)::integer FROM system_metrics WHERE "timestamp" > now() - interval '90 days'), 1, 'and keeps the rest');
SELECT * FROM finish();
ROLLBACK;
