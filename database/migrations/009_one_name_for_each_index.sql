-- ctm: no-transaction
-- Gives each index that stays its name, whoever made the database, and takes the name `retired_…`
-- for those that go: an index is known by what it indexes. The files after this one build what is
-- missing, concurrently; until then the retired ones serve. docs/indexes.md says for each documented
-- index what serves its queries from here on, and what that measured.
--
-- Only indexes called idx_… are retired. One with another name is somebody's own, and stays.
--
-- Locks: none that keeps readers or writers out. Can be run again at any point.
DO $$
DECLARE
    wanted CONSTANT text[][] := ARRAY[
        ['tasks', 'idx_tasks_created_at', 'btree (created_at DESC, id DESC)'],
        ['tasks', 'idx_tasks_status_priority', 'btree (status, priority DESC, created_at, id)'],
        ['tasks', 'idx_tasks_assigned_status', 'btree (assigned_to, status, created_at)'],
        ['tasks', 'idx_tasks_priority', 'btree (priority)'],
        ['tasks', 'idx_tasks_parent_task_id', 'btree (parent_task_id) WHERE (parent_task_id IS NOT NULL)'],
        ['tasks', 'idx_tasks_tags_gin', 'gin (tags)'],
        ['tasks', 'idx_tasks_requirements_gin', 'gin (requirements)'],
        ['tasks', 'idx_tasks_search', 'gin (title gin_trgm_ops, description gin_trgm_ops)'],
        ['task_contexts', 'idx_task_contexts_task_id', 'btree (task_id)'],
        ['workflow_states', 'idx_workflow_states_workflow_id', 'btree (workflow_id)'],
        ['workflow_states', 'idx_workflow_states_task_id', 'btree (task_id)'],
        ['workflow_states', 'idx_workflow_states_status', 'btree (status)'],
        ['workflow_states', 'idx_workflow_states_started_at', 'btree (started_at)'],
        ['audit_logs', 'idx_audit_logs_entity', 'btree (entity_type, entity_id)'],
        ['audit_logs', 'idx_audit_logs_timestamp', 'btree ("timestamp")'],
        ['audit_logs', 'idx_audit_logs_user_id', 'btree (user_id)'],
        ['task_dependencies', 'idx_task_dependencies_child', 'btree (child_task_id)'],
        ['performance_metrics', 'idx_performance_metrics_type_name', 'btree (metric_type, metric_name)'],
        ['performance_metrics', 'idx_performance_metrics_timestamp', 'btree ("timestamp")'],
        ['deployment_scripts', 'idx_deployment_scripts_task_id', 'btree (task_id, execution_order)'],
        ['error_logs', 'idx_error_logs_task_id', 'btree (task_id) WHERE (task_id IS NOT NULL)'],
        ['error_logs', 'idx_error_logs_deployment_script_id', 'btree (deployment_script_id) WHERE (deployment_script_id IS NOT NULL)'],
        ['error_logs', 'idx_error_logs_workflow_state_id', 'btree (workflow_state_id) WHERE (workflow_state_id IS NOT NULL)'],
        ['error_logs', 'idx_error_logs_created_at', 'btree (created_at)'],
        ['error_logs', 'idx_error_logs_unresolved', 'btree (created_at) WHERE (NOT resolved)'],
        ['error_logs', 'idx_error_logs_resolved_at', 'btree (resolved_at) WHERE resolved'],
        ['webhook_events', 'idx_webhook_events_task_id', 'btree (task_id) WHERE (task_id IS NOT NULL)'],
        ['webhook_events', 'idx_webhook_events_waiting', 'btree (created_at) WHERE (NOT processed)'],
        ['api_keys', 'idx_api_keys_user_id', 'btree (user_id)'],
        ['api_keys', 'idx_api_keys_key_prefix', 'btree (key_prefix)'],
        ['api_access_logs', 'idx_api_access_logs_user_id', 'btree (user_id, created_at DESC)'],
        ['api_access_logs', 'idx_api_access_logs_created_at', 'btree (created_at)'],
        ['system_metrics', 'idx_system_metrics_category_name', 'btree (metric_category, metric_name, "timestamp" DESC)'],
        ['system_metrics', 'idx_system_metrics_timestamp', 'btree ("timestamp")']
    ];
    found record;
BEGIN
    FOR found IN
        WITH wanted_index AS (
            SELECT wanted[i][1] AS table_name, wanted[i][2] AS name, wanted[i][3] AS definition
            FROM generate_subscripts(wanted, 1) i
        ), existing AS (
            SELECT owner.relname AS table_name, class.relname AS name,
                   substring(pg_get_indexdef(class.oid) FROM ' USING (.*)$') AS definition,
                   index.indisunique AS is_unique
            FROM pg_index index
            JOIN pg_class class ON class.oid = index.indexrelid
            JOIN pg_class owner ON owner.oid = index.indrelid
            WHERE owner.relnamespace = 'public'::regnamespace
              AND owner.relname IN (SELECT table_name FROM wanted_index)
              AND class.relname LIKE 'idx\_%'
              AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = class.oid)
        ), judged AS (
            SELECT existing.name, wanted_index.name AS wanted_name,
                   row_number() OVER (PARTITION BY existing.table_name, existing.definition
                                      ORDER BY existing.name = wanted_index.name DESC) AS occurrence
            FROM existing
            LEFT JOIN wanted_index ON wanted_index.table_name = existing.table_name
                                  AND wanted_index.definition = existing.definition
                                  AND NOT existing.is_unique
        )
        SELECT name,
               CASE WHEN wanted_name IS NOT NULL AND occurrence = 1 THEN wanted_name
                    ELSE left('retired_' || name, 63) END AS new_name
        FROM judged
        WHERE name IS DISTINCT FROM wanted_name OR occurrence > 1
        -- Those that go first: they may hold a name that another one gets.
        ORDER BY wanted_name IS NULL DESC, occurrence DESC
    LOOP
        EXECUTE format('ALTER INDEX public.%I RENAME TO %I', found.name, found.new_name);
    END LOOP;
END
$$;
