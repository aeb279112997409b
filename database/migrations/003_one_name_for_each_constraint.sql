-- ctm: no-transaction
-- Gives each constraint of the document one name and one definition, whoever made the database.
--
-- A database made by hand has names of its own, and may lack a CHECK: people dropped the one on
-- audit_logs.entity_type, for it refuses what its trigger writes. Constraints are therefore found
-- by what they say. Those that say the same are renamed; a CHECK on columns that the document
-- checks, but saying something else, is replaced; a missing one is added NOT VALID and validated by
-- the next file. Constraints on other columns are somebody's own and stay.
--
-- The list for audit_logs grows here: every table of the document, in the singular of 1.0 and in
-- the plural that the triggers of such databases have written.
--
-- Locks: one table at a time, for a change of the catalog; a database made by 001 and 002 needs it
-- for audit_logs only. Can be run again at any point.
DO $$
DECLARE
    wanted_checks CONSTANT text[][] := ARRAY[
        ['tasks', 'tasks_status_check',
         $check$status IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled')$check$],
        ['tasks', 'tasks_priority_check', 'priority BETWEEN 0 AND 10'],
        ['tasks', 'tasks_complexity_score_check', 'complexity_score BETWEEN 1 AND 10'],
        ['tasks', 'tasks_estimated_hours_check', 'estimated_hours >= 0'],
        ['tasks', 'tasks_actual_hours_check', 'actual_hours >= 0'],
        ['task_contexts', 'task_contexts_context_type_check',
         $check$context_type IN ('requirement', 'codebase', 'ai_interaction', 'validation',
            'workflow', 'status_change', 'completion', 'dependency_parent', 'dependency_child',
            'error', 'performance')$check$],
        ['workflow_states', 'workflow_states_status_check',
         $check$status IN ('pending', 'running', 'completed', 'failed', 'skipped')$check$],
        ['workflow_states', 'workflow_states_retry_count_check', 'retry_count >= 0'],
        ['audit_logs', 'audit_logs_entity_type_check',
         $check$entity_type IN ('task', 'tasks', 'task_context', 'task_contexts',
            'workflow_state', 'workflow_states', 'task_dependency', 'task_dependencies',
            'audit_log', 'audit_logs', 'performance_metric', 'performance_metrics',
            'schema_migration', 'schema_migrations', 'deployment_script', 'deployment_scripts',
            'error_log', 'error_logs', 'webhook_event', 'webhook_events', 'api_key', 'api_keys',
            'api_access_log', 'api_access_logs', 'system_metric', 'system_metrics',
            'configuration_setting', 'configuration_settings')$check$],
        ['audit_logs', 'audit_logs_action_check',
         $check$action IN ('create', 'update', 'delete', 'status_change', 'truncate')$check$],
        ['task_dependencies', 'task_dependencies_dependency_type_check',
         $check$dependency_type IN ('blocks', 'depends_on', 'related')$check$],
        ['task_dependencies', 'task_dependencies_not_itself_check',
         'parent_task_id <> child_task_id'],
        ['performance_metrics', 'performance_metrics_metric_type_check',
         $check$metric_type IN ('query', 'task', 'workflow', 'system')$check$],
        ['deployment_scripts', 'deployment_scripts_script_type_check',
         $check$script_type IN ('build', 'test', 'deploy', 'rollback', 'migration', 'validation',
            'cleanup')$check$],
        ['deployment_scripts', 'deployment_scripts_environment_check',
         $check$environment IN ('development', 'staging', 'production', 'testing')$check$],
        ['deployment_scripts', 'deployment_scripts_status_check',
         $check$status IN ('pending', 'running', 'completed', 'failed', 'cancelled',
            'skipped')$check$],
        ['deployment_scripts', 'deployment_scripts_retries_check',
         'retry_count >= 0 AND retry_count <= max_retries'],
        ['deployment_scripts', 'deployment_scripts_timeout_seconds_check', 'timeout_seconds > 0'],
        ['error_logs', 'error_logs_error_type_check',
         $check$error_type IN ('validation', 'compilation', 'runtime', 'network', 'database',
            'authentication', 'authorization', 'timeout', 'resource', 'configuration')$check$],
        ['error_logs', 'error_logs_severity_check',
         $check$severity IN ('debug', 'info', 'warning', 'error', 'critical', 'fatal')$check$],
        ['webhook_events', 'webhook_events_event_type_check',
         $check$event_type IN ('task_created', 'task_updated', 'task_completed', 'task_failed',
            'deployment_started', 'deployment_completed', 'deployment_failed',
            'pr_created', 'pr_updated', 'pr_merged', 'pr_closed',
            'build_started', 'build_completed', 'build_failed',
            'test_started', 'test_completed', 'test_failed')$check$],
        ['webhook_events', 'webhook_events_attempts_check',
         'processing_attempts <= max_processing_attempts'],
        ['api_keys', 'api_keys_rate_limit_per_hour_check', 'rate_limit_per_hour > 0'],
        ['api_keys', 'api_keys_rate_limit_per_day_check', 'rate_limit_per_day > 0'],
        ['api_access_logs', 'api_access_logs_method_check',
         $check$method IN ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS')$check$],
        ['system_metrics', 'system_metrics_metric_category_check',
         $check$metric_category IN ('database', 'api', 'task_processing', 'deployment',
            'error_rate', 'performance', 'security', 'resource_usage')$check$],
        ['system_metrics', 'system_metrics_aggregation_period_check',
         $check$aggregation_period IN ('instant', '1min', '5min', '15min', '1hour',
            '1day')$check$],
        ['configuration_settings', 'configuration_settings_setting_type_check',
         $check$setting_type IN ('string', 'number', 'boolean', 'json', 'array',
            'encrypted')$check$],
        ['configuration_settings', 'configuration_settings_environment_check',
         $check$environment IN ('all', 'development', 'staging', 'production', 'testing')$check$]
    ];
    -- Keys with a name that does not follow from the table and its columns.
    unique_name CONSTANT jsonb :=
        '{"task_dependencies": "task_dependencies_parent_child_type_key"}';
    document_table text;
    checked_columns text[];
    found record;
    wanted_name text;
BEGIN
    CREATE TEMPORARY TABLE IF NOT EXISTS wanted_check (
        table_name text, constraint_name text, expression text, definition text, columns text[]);
    TRUNCATE wanted_check;
    FOR i IN 1 .. array_length(wanted_checks, 1) LOOP
        INSERT INTO wanted_check (table_name, constraint_name, expression)
        VALUES (wanted_checks[i][1], wanted_checks[i][2], wanted_checks[i][3]);
    END LOOP;

    FOR document_table IN
        SELECT DISTINCT table_name FROM wanted_check ORDER BY table_name
    LOOP
        -- The server's own words for each expression, from an empty table of the same columns.
        EXECUTE format('CREATE TEMPORARY TABLE same_columns (LIKE public.%I)', document_table);
        FOR found IN SELECT * FROM wanted_check WHERE table_name = document_table LOOP
            EXECUTE format('ALTER TABLE same_columns ADD CONSTRAINT %I CHECK (%s)',
                           found.constraint_name, found.expression);
        END LOOP;
        UPDATE wanted_check SET
            definition = pg_get_constraintdef(made.oid),
            columns = ARRAY(SELECT attname::text FROM pg_attribute
                            WHERE attrelid = made.conrelid AND attnum = ANY (made.conkey))
        FROM pg_constraint made
        WHERE table_name = document_table
          AND made.conrelid = 'pg_temp.same_columns'::regclass
          AND made.conname = constraint_name;
        DROP TABLE same_columns;

        SELECT array_agg(DISTINCT name) INTO checked_columns
        FROM wanted_check, unnest(columns) name WHERE table_name = document_table;

        -- What says something else about the same columns goes first: it may hold a name we need.
        FOR found IN
            SELECT existing.conname
            FROM pg_constraint existing
            WHERE existing.conrelid = format('public.%I', document_table)::regclass
              AND existing.contype = 'c'
              AND ARRAY(SELECT attname::text FROM pg_attribute
                        WHERE attrelid = existing.conrelid AND attnum = ANY (existing.conkey))
                  <@ checked_columns
              AND NOT EXISTS (SELECT FROM wanted_check
                              WHERE table_name = document_table
                                AND definition = replace(pg_get_constraintdef(existing.oid),
                                                         ' NOT VALID', ''))
        LOOP
            EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT %I',
                           document_table, found.conname);
        END LOOP;

        FOR found IN
            SELECT wanted.*, existing.conname,
                   row_number() OVER (PARTITION BY wanted.constraint_name
                                      ORDER BY existing.conname = wanted.constraint_name DESC,
                                               existing.convalidated DESC) AS occurrence
            FROM wanted_check wanted
            LEFT JOIN pg_constraint existing
              ON existing.conrelid = format('public.%I', document_table)::regclass
             AND existing.contype = 'c'
             AND replace(pg_get_constraintdef(existing.oid), ' NOT VALID', '') = wanted.definition
            WHERE wanted.table_name = document_table
        LOOP
            IF found.conname IS NULL THEN
                EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT %I CHECK (%s) NOT VALID',
                               document_table, found.constraint_name, found.expression);
            ELSIF found.occurrence > 1 THEN
                EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT %I',
                               document_table, found.conname);
            ELSIF found.conname <> found.constraint_name THEN
                EXECUTE format('ALTER TABLE public.%I RENAME CONSTRAINT %I TO %I',
                               document_table, found.conname, found.constraint_name);
            END IF;
        END LOOP;

        FOR found IN
            SELECT existing.conname, existing.contype, existing.conrelid,
                   ARRAY(SELECT attname::text FROM unnest(existing.conkey) WITH ORDINALITY key(n, i)
                         JOIN pg_attribute ON attrelid = existing.conrelid AND attnum = n
                         ORDER BY i) AS columns
            FROM pg_constraint existing
            WHERE existing.conrelid = format('public.%I', document_table)::regclass
              AND existing.contype IN ('p', 'u', 'f')
        LOOP
            wanted_name := CASE found.contype
                WHEN 'p' THEN document_table || '_pkey'
                WHEN 'f' THEN format('%s_%s_fkey', document_table,
                                     array_to_string(found.columns, '_'))
                ELSE coalesce(unique_name ->> document_table,
                              format('%s_%s_key', document_table,
                                     array_to_string(found.columns, '_')))
            END;
            IF found.conname <> wanted_name THEN
                EXECUTE format('ALTER TABLE public.%I RENAME CONSTRAINT %I TO %I',
                               document_table, found.conname, wanted_name);
            END IF;
        END LOOP;
        COMMIT;
    END LOOP;
    DROP TABLE wanted_check;
END
$$;
