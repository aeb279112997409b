-- red on: v2
-- task_performance_summary counted each error once for each script, and the other way round.
BEGIN;
SELECT plan(1);
INSERT INTO tasks (id, title) VALUES ('00000000-0000-4000-8000-000000000001', 't');
INSERT INTO error_logs (task_id, error_type, error_message)
SELECT '00000000-0000-4000-8000-000000000001', 'runtime', 'm' FROM generate_series(1, 3);
INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content, status)
SELECT '00000000-0000-4000-8000-000000000001', 'n', 'build', 'c', 'completed' FROM generate_series(1, 2);
REFRESH MATERIALIZED VIEW task_performance_summary;
SELECT is((SELECT ROW(error_count, deployment_script_count, successful_deployments)::text
           FROM task_performance_summary WHERE title = 't'), '(3,2,2)', 'three errors and two scripts are counted as such');
SELECT * FROM finish();
ROLLBACK;
