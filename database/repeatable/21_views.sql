-- The views. On 15 and newer they read with the rights of whoever reads them. Before that a view reads
-- with its owner's, who sees every row of the guarded tables: so none of them reads a guarded table but
-- recent_activity, which leaves out itself what its readers may not see.

DROP VIEW IF EXISTS active_tasks, task_summary, recent_activity, system_health_dashboard,
    comprehensive_dashboard, performance_monitoring;

CREATE VIEW active_tasks AS
SELECT id, title, description, type, status, priority, complexity_score, parent_task_id, assigned_to,
       tags, estimated_hours, actual_hours, created_at, updated_at
FROM tasks
WHERE status IN ('pending', 'in_progress');

CREATE VIEW task_summary AS
SELECT status, count(*) AS task_count, avg(priority) AS average_priority,
       avg(complexity_score) AS average_complexity, sum(estimated_hours) AS estimated_hours,
       sum(actual_hours) AS actual_hours
FROM tasks
GROUP BY status;

CREATE VIEW recent_activity AS
SELECT id, entity_type, entity_id, action, user_id, "timestamp"
FROM audit_logs
WHERE "timestamp" > now() - interval '24 hours'
  AND entity_type NOT IN ('api_key', 'api_keys', 'api_access_log', 'api_access_logs',
                          'configuration_setting', 'configuration_settings');

CREATE VIEW system_health_dashboard AS
SELECT component, total, active, failed,
       CASE WHEN failed = 0 THEN 'healthy'
            WHEN failed * 20 <= total THEN 'degraded'
            ELSE 'failing' END AS status
FROM (
    SELECT 1 AS place, 'tasks' AS component, count(*) AS total,
           count(*) FILTER (WHERE status IN ('pending', 'in_progress')) AS active,
           count(*) FILTER (WHERE status = 'failed') AS failed
    FROM tasks
    UNION ALL
    SELECT 2, 'deployments', count(*), count(*) FILTER (WHERE status IN ('pending', 'running')),
           count(*) FILTER (WHERE status = 'failed')
    FROM deployment_scripts
    UNION ALL
    SELECT 3, 'workflows', count(*), count(*) FILTER (WHERE status IN ('pending', 'running')),
           count(*) FILTER (WHERE status = 'failed')
    FROM workflow_states
    UNION ALL
    SELECT 4, 'errors', count(*), count(*) FILTER (WHERE resolved IS NOT TRUE),
           count(*) FILTER (WHERE severity IN ('critical', 'fatal') AND resolved IS NOT TRUE)
    FROM error_logs
    UNION ALL
    SELECT 5, 'webhooks', count(*), count(*) FILTER (WHERE processed IS NOT TRUE),
           count(*) FILTER (WHERE processed IS NOT TRUE
                            AND processing_attempts >= max_processing_attempts)
    FROM webhook_events
) components
ORDER BY place;

-- Every number of the three statistics functions, one a row.
CREATE VIEW comprehensive_dashboard AS
SELECT section, name, (value #>> '{}')::numeric AS value
FROM (
    SELECT 'tasks' AS section, to_jsonb(statistics) AS numbers FROM get_task_statistics() statistics
    UNION ALL
    SELECT 'deployments', to_jsonb(statistics) FROM get_deployment_statistics() statistics
    UNION ALL
    SELECT 'errors', to_jsonb(statistics) FROM get_error_statistics() statistics
) sections
CROSS JOIN LATERAL jsonb_each(numbers) AS entry (name, value)
WHERE jsonb_typeof(value) IN ('number', 'null');

-- The last hour of each metric.
CREATE VIEW performance_monitoring AS
SELECT metric_category, metric_name, metric_unit, count(*) AS samples, min(metric_value) AS minimum,
       avg(metric_value) AS average, max(metric_value) AS maximum,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY metric_value) AS percentile_95,
       (array_agg(metric_value ORDER BY "timestamp" DESC))[1] AS latest,
       max("timestamp") AS latest_at
FROM system_metrics
WHERE "timestamp" > now() - interval '1 hour'
GROUP BY metric_category, metric_name, metric_unit;

DO $$
DECLARE
    view_name text;
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        FOREACH view_name IN ARRAY ARRAY['active_tasks', 'task_summary', 'recent_activity',
            'system_health_dashboard', 'comprehensive_dashboard', 'performance_monitoring']
        LOOP
            EXECUTE format('ALTER VIEW %I SET (security_invoker = true)', view_name);
        END LOOP;
    END IF;
END
$$;

GRANT SELECT ON active_tasks, task_summary, system_health_dashboard, comprehensive_dashboard,
    performance_monitoring TO api_users, readonly_users, ctm_query;
GRANT SELECT ON recent_activity TO readonly_users, ctm_query;

COMMENT ON VIEW active_tasks IS 'Tasks that are pending or in progress';
COMMENT ON VIEW task_summary IS 'Tasks by status';
COMMENT ON VIEW recent_activity IS 'The audit log of the last 24 hours, less keys, settings and access';
COMMENT ON VIEW system_health_dashboard IS 'Five components: how many there are, at work, and failed';
COMMENT ON VIEW comprehensive_dashboard IS 'The numbers of the three statistics functions';
COMMENT ON VIEW performance_monitoring IS 'The last hour of each system metric';
