-- The two materialised views. Each is made and filled under another name first and then takes the
-- place of the old one, so that readers wait for a change of the catalog and never find it empty.
-- Their unique indexes let them be refreshed while they are read.

-- Nobody reads or writes them yet:
-- squawk-ignore-file require-concurrent-index-creation

-- Dashboards that somebody made by hand on top of them; 21_views.sql makes ours, which are not.
DO $$
DECLARE
    dashboard regclass;
BEGIN
    FOR dashboard IN
        SELECT DISTINCT ev_class
        FROM pg_depend JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND pg_rewrite.oid = objid
        WHERE refobjid IN (to_regclass('public.task_dependency_tree'),
                           to_regclass('public.task_performance_summary'))
          AND ev_class IN (to_regclass('public.comprehensive_dashboard'),
                           to_regclass('public.performance_monitoring'))
    LOOP
        EXECUTE format('DROP VIEW %s', dashboard);
    END LOOP;
END
$$;

DROP MATERIALIZED VIEW IF EXISTS task_dependency_tree_next, task_performance_summary_next;

-- For each task that waits for nothing, everything that waits for it: one row for each pair of root and
-- task, with the shortest way (docs/decisions/0020). Every task is in it. Cycles, which only data
-- from before refuse_dependency_cycle can have, are marked.
CREATE MATERIALIZED VIEW task_dependency_tree_next AS
SELECT t.id, t.title, t.status, t.priority, linked.depth, linked.path, linked.root_task_id,
       linked.in_cycle
FROM task_dependency_closure() linked
JOIN tasks t ON t.id = linked.task_id
UNION ALL
SELECT t.id, t.title, t.status, t.priority, 0, ARRAY[t.id], t.id, false
FROM tasks t
WHERE NOT EXISTS (SELECT FROM task_dependencies td
                  WHERE td.dependency_type = 'depends_on' AND td.child_task_id = t.id)
  AND NOT EXISTS (SELECT FROM task_dependencies td
                  WHERE td.dependency_type = 'depends_on' AND td.parent_task_id = t.id);

CREATE UNIQUE INDEX ON task_dependency_tree_next (id, root_task_id);
CREATE INDEX ON task_dependency_tree_next (root_task_id, depth);

-- Errors and scripts are counted before they are joined: joined first, three errors and two scripts
-- make six of each.
CREATE MATERIALIZED VIEW task_performance_summary_next AS
SELECT t.id, t.title, t.status, t.complexity_score, t.estimated_hours, t.actual_hours,
       CASE WHEN t.estimated_hours > 0 THEN (t.actual_hours / t.estimated_hours) * 100 END
           AS accuracy_percentage,
       coalesce(errors.error_count, 0) AS error_count,
       coalesce(scripts.deployment_script_count, 0) AS deployment_script_count,
       coalesce(scripts.successful_deployments, 0) AS successful_deployments,
       coalesce(scripts.failed_deployments, 0) AS failed_deployments,
       scripts.avg_deployment_duration_ms,
       t.created_at, t.updated_at, t.completed_at
FROM tasks t
LEFT JOIN (
    SELECT task_id, count(*) AS error_count
    FROM error_logs
    GROUP BY task_id
) errors ON errors.task_id = t.id
LEFT JOIN (
    SELECT task_id,
           count(*) AS deployment_script_count,
           count(*) FILTER (WHERE status = 'completed') AS successful_deployments,
           count(*) FILTER (WHERE status = 'failed') AS failed_deployments,
           avg(execution_duration_ms) AS avg_deployment_duration_ms
    FROM deployment_scripts
    GROUP BY task_id
) scripts ON scripts.task_id = t.id;

CREATE UNIQUE INDEX ON task_performance_summary_next (id);

DROP MATERIALIZED VIEW IF EXISTS task_dependency_tree, task_performance_summary;
ALTER MATERIALIZED VIEW task_dependency_tree_next RENAME TO task_dependency_tree;
ALTER INDEX task_dependency_tree_next_id_root_task_id_idx RENAME TO idx_task_dependency_tree_id_root;
ALTER INDEX task_dependency_tree_next_root_task_id_depth_idx RENAME TO idx_task_dependency_tree_root;
ALTER MATERIALIZED VIEW task_performance_summary_next RENAME TO task_performance_summary;
ALTER INDEX task_performance_summary_next_id_idx RENAME TO idx_task_performance_summary_id;

GRANT SELECT ON task_dependency_tree, task_performance_summary
    TO api_users, readonly_users, ctm_query;

COMMENT ON MATERIALIZED VIEW task_dependency_tree IS 'Each task that waits for nothing, with everything that waits for it';
COMMENT ON COLUMN task_dependency_tree.depth IS 'Length of the shortest way';
COMMENT ON COLUMN task_dependency_tree.in_cycle IS 'The task waits for itself, as only data from before version 2.0 can';
COMMENT ON MATERIALIZED VIEW task_performance_summary IS 'Each task with the number of its errors and scripts';

-- Refreshes both while they are read. One at a time: a second call waits, then does it again.
CREATE OR REPLACE FUNCTION refresh_materialized_views() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    REFRESH MATERIALIZED VIEW CONCURRENTLY task_dependency_tree;
    REFRESH MATERIALIZED VIEW CONCURRENTLY task_performance_summary;
END
$$;
