-- Every policy, trigger, function, view and index: that it is there, and that there is no other.
BEGIN;
SELECT plan(19);

CREATE TEMPORARY VIEW found_policy AS
SELECT tablename::text, policyname::text, permissive::text, cmd::text, array_to_string(roles, ', ')
FROM pg_policies
WHERE schemaname = 'public' AND policyname <> 'partition_owner_policy';
CREATE TEMPORARY TABLE wanted_policy AS
SELECT * FROM (VALUES
    ('api_access_logs', 'api_access_logs_owner_policy', 'PERMISSIVE', 'ALL', 'ctm_owner'),
    ('api_access_logs', 'api_access_logs_query_policy', 'PERMISSIVE', 'SELECT', 'ctm_query'),
    ('api_access_logs', 'api_access_logs_user_policy', 'PERMISSIVE', 'SELECT', 'authenticated_users'),
    ('api_access_logs', 'api_access_logs_write_policy', 'PERMISSIVE', 'INSERT', 'api_users'),
    ('api_keys', 'api_keys_lookup_policy', 'PERMISSIVE', 'SELECT', 'ctm_key_lookup'),
    ('api_keys', 'api_keys_owner_policy', 'PERMISSIVE', 'ALL', 'ctm_owner'),
    ('api_keys', 'api_keys_query_policy', 'PERMISSIVE', 'SELECT', 'ctm_query'),
    ('api_keys', 'api_keys_usage_policy', 'PERMISSIVE', 'UPDATE', 'ctm_key_lookup'),
    ('api_keys', 'api_keys_user_change_policy', 'PERMISSIVE', 'UPDATE', 'authenticated_users'),
    ('api_keys', 'api_keys_user_policy', 'PERMISSIVE', 'SELECT', 'authenticated_users'),
    ('audit_logs', 'audit_logs_owner_policy', 'PERMISSIVE', 'ALL', 'ctm_owner'),
    ('audit_logs', 'audit_logs_query_policy', 'PERMISSIVE', 'SELECT', 'ctm_query'),
    ('audit_logs', 'audit_logs_readonly_policy', 'PERMISSIVE', 'SELECT', 'readonly_users'),
    ('configuration_settings', 'configuration_settings_environment_policy', 'PERMISSIVE', 'SELECT', 'api_users, authenticated_users, readonly_users'),
    ('configuration_settings', 'configuration_settings_owner_policy', 'PERMISSIVE', 'ALL', 'ctm_owner'),
    ('configuration_settings', 'configuration_settings_query_policy', 'PERMISSIVE', 'SELECT', 'ctm_query')
) AS wanted;
SELECT is_empty('TABLE wanted_policy EXCEPT TABLE found_policy', 'each policy is there');
SELECT is_empty('TABLE found_policy EXCEPT TABLE wanted_policy', 'and no other is');

CREATE TEMPORARY VIEW found_trigger AS
SELECT tgrelid::regclass::text, tgname::text, tgfoid::regproc::text, tgtype::integer::text,
       concat_ws(' ', tgoldtable, tgnewtable), encode(tgargs, 'escape')
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal AND NOT relispartition;
CREATE TEMPORARY TABLE wanted_trigger AS
SELECT * FROM (VALUES
    ('api_access_logs', 'audit_api_access_logs_delete', 'audit_statement_function', '8', 'old_rows', 'api_access_log\000'),
    ('api_access_logs', 'audit_api_access_logs_insert', 'audit_statement_function', '4', 'new_rows', 'api_access_log\000'),
    ('api_access_logs', 'audit_api_access_logs_truncate', 'audit_statement_function', '32', '', 'api_access_log\000'),
    ('api_access_logs', 'audit_api_access_logs_update', 'audit_statement_function', '16', 'old_rows new_rows', 'api_access_log\000'),
    ('api_keys', 'audit_api_keys_delete', 'audit_trigger_function', '8', 'old_rows', 'api_key\000{key_hash}\000{last_used_at,usage_count}\000'),
    ('api_keys', 'audit_api_keys_insert', 'audit_trigger_function', '4', 'new_rows', 'api_key\000{key_hash}\000{last_used_at,usage_count}\000'),
    ('api_keys', 'audit_api_keys_truncate', 'audit_statement_function', '32', '', 'api_key\000'),
    ('api_keys', 'audit_api_keys_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'api_key\000{key_hash}\000{last_used_at,usage_count}\000'),
    ('api_keys', 'update_api_keys_updated_at', 'update_updated_at_column', '19', '', ''),
    ('audit_logs', 'audit_audit_logs_delete', 'audit_statement_function', '8', 'old_rows', 'audit_log\000'),
    ('audit_logs', 'audit_audit_logs_truncate', 'audit_statement_function', '32', '', 'audit_log\000'),
    ('audit_logs', 'audit_audit_logs_update', 'audit_statement_function', '16', 'old_rows new_rows', 'audit_log\000'),
    ('configuration_settings', 'audit_configuration_settings_delete', 'audit_trigger_function', '8', 'old_rows', 'configuration_setting\000{setting_value}\000{}\000'),
    ('configuration_settings', 'audit_configuration_settings_insert', 'audit_trigger_function', '4', 'new_rows', 'configuration_setting\000{setting_value}\000{}\000'),
    ('configuration_settings', 'audit_configuration_settings_truncate', 'audit_statement_function', '32', '', 'configuration_setting\000'),
    ('configuration_settings', 'audit_configuration_settings_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'configuration_setting\000{setting_value}\000{}\000'),
    ('configuration_settings', 'update_configuration_settings_updated_at', 'update_updated_at_column', '19', '', ''),
    ('deployment_scripts', 'audit_deployment_scripts_delete', 'audit_trigger_function', '8', 'old_rows', 'deployment_script\000{}\000{}\000'),
    ('deployment_scripts', 'audit_deployment_scripts_insert', 'audit_trigger_function', '4', 'new_rows', 'deployment_script\000{}\000{}\000'),
    ('deployment_scripts', 'audit_deployment_scripts_truncate', 'audit_statement_function', '32', '', 'deployment_script\000'),
    ('deployment_scripts', 'audit_deployment_scripts_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'deployment_script\000{}\000{}\000'),
    ('deployment_scripts', 'update_deployment_scripts_updated_at', 'update_updated_at_column', '19', '', ''),
    ('error_logs', 'audit_error_logs_delete', 'audit_trigger_function', '8', 'old_rows', 'error_log\000{}\000{}\000'),
    ('error_logs', 'audit_error_logs_insert', 'audit_trigger_function', '4', 'new_rows', 'error_log\000{}\000{}\000'),
    ('error_logs', 'audit_error_logs_truncate', 'audit_statement_function', '32', '', 'error_log\000'),
    ('error_logs', 'audit_error_logs_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'error_log\000{}\000{}\000'),
    ('performance_metrics', 'audit_performance_metrics_delete', 'audit_statement_function', '8', 'old_rows', 'performance_metric\000'),
    ('performance_metrics', 'audit_performance_metrics_insert', 'audit_statement_function', '4', 'new_rows', 'performance_metric\000'),
    ('performance_metrics', 'audit_performance_metrics_truncate', 'audit_statement_function', '32', '', 'performance_metric\000'),
    ('performance_metrics', 'audit_performance_metrics_update', 'audit_statement_function', '16', 'old_rows new_rows', 'performance_metric\000'),
    ('schema_migrations', 'audit_schema_migrations_delete', 'audit_trigger_function', '8', 'old_rows', 'schema_migration\000{}\000{}\000'),
    ('schema_migrations', 'audit_schema_migrations_insert', 'audit_trigger_function', '4', 'new_rows', 'schema_migration\000{}\000{}\000'),
    ('schema_migrations', 'audit_schema_migrations_truncate', 'audit_statement_function', '32', '', 'schema_migration\000'),
    ('schema_migrations', 'audit_schema_migrations_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'schema_migration\000{}\000{}\000'),
    ('system_metrics', 'audit_system_metrics_delete', 'audit_statement_function', '8', 'old_rows', 'system_metric\000'),
    ('system_metrics', 'audit_system_metrics_insert', 'audit_statement_function', '4', 'new_rows', 'system_metric\000'),
    ('system_metrics', 'audit_system_metrics_truncate', 'audit_statement_function', '32', '', 'system_metric\000'),
    ('system_metrics', 'audit_system_metrics_update', 'audit_statement_function', '16', 'old_rows new_rows', 'system_metric\000'),
    ('task_contexts', 'audit_task_contexts_delete', 'audit_trigger_function', '8', 'old_rows', 'task_context\000{}\000{}\000'),
    ('task_contexts', 'audit_task_contexts_insert', 'audit_trigger_function', '4', 'new_rows', 'task_context\000{}\000{}\000'),
    ('task_contexts', 'audit_task_contexts_truncate', 'audit_statement_function', '32', '', 'task_context\000'),
    ('task_contexts', 'audit_task_contexts_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'task_context\000{}\000{}\000'),
    ('task_contexts', 'update_task_contexts_updated_at', 'update_updated_at_column', '19', '', ''),
    ('task_dependencies', 'audit_task_dependencies_delete', 'audit_trigger_function', '8', 'old_rows', 'task_dependency\000{}\000{}\000'),
    ('task_dependencies', 'audit_task_dependencies_insert', 'audit_trigger_function', '4', 'new_rows', 'task_dependency\000{}\000{}\000'),
    ('task_dependencies', 'audit_task_dependencies_truncate', 'audit_statement_function', '32', '', 'task_dependency\000'),
    ('task_dependencies', 'audit_task_dependencies_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'task_dependency\000{}\000{}\000'),
    ('task_dependencies', 'refuse_task_dependencies_cycle_insert', 'refuse_dependency_cycle', '4', 'new_rows', ''),
    ('task_dependencies', 'refuse_task_dependencies_cycle_update', 'refuse_dependency_cycle', '16', 'new_rows', ''),
    ('tasks', 'audit_tasks_delete', 'audit_trigger_function', '8', 'old_rows', 'task\000{}\000{}\000'),
    ('tasks', 'audit_tasks_insert', 'audit_trigger_function', '4', 'new_rows', 'task\000{}\000{}\000'),
    ('tasks', 'audit_tasks_truncate', 'audit_statement_function', '32', '', 'task\000'),
    ('tasks', 'audit_tasks_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'task\000{}\000{}\000'),
    ('tasks', 'keep_tasks_completed_at', 'keep_completed_at', '23', '', ''),
    ('tasks', 'update_tasks_updated_at', 'update_updated_at_column', '19', '', ''),
    ('webhook_events', 'audit_webhook_events_delete', 'audit_trigger_function', '8', 'old_rows', 'webhook_event\000{headers,signature}\000{}\000'),
    ('webhook_events', 'audit_webhook_events_insert', 'audit_trigger_function', '4', 'new_rows', 'webhook_event\000{headers,signature}\000{}\000'),
    ('webhook_events', 'audit_webhook_events_truncate', 'audit_statement_function', '32', '', 'webhook_event\000'),
    ('webhook_events', 'audit_webhook_events_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'webhook_event\000{headers,signature}\000{}\000'),
    ('workflow_states', 'audit_workflow_states_delete', 'audit_trigger_function', '8', 'old_rows', 'workflow_state\000{}\000{}\000'),
    ('workflow_states', 'audit_workflow_states_insert', 'audit_trigger_function', '4', 'new_rows', 'workflow_state\000{}\000{}\000'),
    ('workflow_states', 'audit_workflow_states_truncate', 'audit_statement_function', '32', '', 'workflow_state\000'),
    ('workflow_states', 'audit_workflow_states_update', 'audit_trigger_function', '16', 'old_rows new_rows', 'workflow_state\000{}\000{}\000')
) AS wanted;
SELECT is_empty('TABLE wanted_trigger EXCEPT TABLE found_trigger', 'each trigger is there');
SELECT is_empty('TABLE found_trigger EXCEPT TABLE wanted_trigger', 'and no other is');

CREATE TEMPORARY VIEW found_function AS
SELECT routine.oid::regprocedure::text, pg_get_function_result(routine.oid), pg_get_userbyid(proowner)::text,
       prosecdef::text, provolatile::text
FROM pg_proc routine
WHERE pronamespace = 'public'::regnamespace
  AND pg_get_userbyid(proowner) IN ('ctm_owner', 'ctm_key_lookup');
CREATE TEMPORARY TABLE wanted_function AS
SELECT * FROM (VALUES
    ('append_audit_seal(text,timestamp with time zone,timestamp with time zone,bigint,bytea)', 'bigint', 'ctm_owner', 'false', 'v'),
    ('audit_chain_head()', 'text', 'ctm_owner', 'false', 's'),
    ('audit_circumstances()', 'record', 'ctm_owner', 'false', 'v'),
    ('audit_client_address()', 'inet', 'ctm_owner', 'false', 's'),
    ('audit_digest_entries(bytea)', 'TABLE(place bigint, id uuid, digest bytea)', 'ctm_owner', 'false', 'i'),
    ('audit_lock_class()', 'integer', 'ctm_owner', 'false', 'i'),
    ('audit_redact(jsonb,text[],jsonb,jsonb)', 'jsonb', 'ctm_owner', 'false', 'i'),
    ('audit_row_digest(audit_logs)', 'bytea', 'ctm_owner', 'false', 'i'),
    ('audit_seal_digest(audit_seals)', 'bytea', 'ctm_owner', 'false', 'i'),
    ('audit_statement_function()', 'trigger', 'ctm_owner', 'true', 'v'),
    ('audit_trigger_function()', 'trigger', 'ctm_owner', 'true', 'v'),
    ('check_api_key_lists(jsonb,jsonb,jsonb)', 'void', 'ctm_owner', 'false', 'i'),
    ('audit_writers()', 'TABLE(hour bigint, transaction text)', 'ctm_owner', 'false', 'v'),
    ('cleanup_old_logs(integer)', 'integer', 'ctm_owner', 'true', 'v'),
    ('create_log_partitions(integer)', 'integer', 'ctm_owner', 'true', 'v'),
    ('decrypt_setting(character varying,text,text)', 'jsonb', 'ctm_owner', 'false', 's'),
    ('encrypt_setting(character varying,jsonb,text)', 'jsonb', 'ctm_owner', 'false', 'v'),
    ('find_api_key(text)', 'TABLE(id uuid, key_hash character varying, key_name character varying, user_id character varying, permissions jsonb, rate_limit_per_hour integer, rate_limit_per_day integer, allowed_ips jsonb, allowed_endpoints jsonb, expires_at timestamp with time zone, is_active boolean)', 'ctm_key_lookup', 'true', 's'),
    ('generate_api_key(character varying,character varying,jsonb,integer,integer,integer,jsonb,jsonb,jsonb)', 'TABLE(id uuid, key text)', 'ctm_owner', 'false', 'v'),
    ('get_deployment_statistics()', 'TABLE(total bigint, pending bigint, running bigint, completed bigint, failed bigint, cancelled bigint, skipped bigint, success_rate numeric, average_duration_ms numeric, retried bigint, executed_last_day bigint)', 'ctm_owner', 'false', 's'),
    ('get_encrypted_setting(character varying,text)', 'jsonb', 'ctm_owner', 'true', 's'),
    ('get_error_statistics()', 'TABLE(total bigint, unresolved bigint, critical bigint, last_hour bigint, last_day bigint, most_frequent_type character varying, average_resolution_seconds numeric)', 'ctm_owner', 'false', 's'),
    ('get_task_statistics()', 'TABLE(total bigint, pending bigint, in_progress bigint, completed bigint, failed bigint, cancelled bigint, completion_rate numeric, average_hours numeric, average_completion_seconds numeric, created_last_day bigint, completed_last_day bigint)', 'ctm_owner', 'false', 's'),
    ('guard_log_partition(name)', 'void', 'ctm_owner', 'false', 'v'),
    ('keep_completed_at()', 'trigger', 'ctm_owner', 'false', 'v'),
    ('log_partitions(text)', 'TABLE(name name, upper_bound timestamp with time zone)', 'ctm_owner', 'false', 's'),
    ('log_tables()', 'TABLE(name text, time_column text)', 'ctm_owner', 'false', 'i'),
    ('numeric_setting(text,numeric)', 'numeric', 'ctm_owner', 'false', 's'),
    ('record_api_key_usage(uuid[],integer[],timestamp with time zone[])', 'void', 'ctm_key_lookup', 'true', 'v'),
    ('refresh_materialized_views()', 'void', 'ctm_owner', 'true', 'v'),
    ('is_end_of_dependencies(uuid[])', 'boolean', 'ctm_owner', 'false', 'v'),
    ('refuse_dependency_cycle()', 'trigger', 'ctm_owner', 'true', 'v'),
    ('retention_days(text,integer)', 'integer', 'ctm_owner', 'false', 's'),
    ('revoke_api_key(uuid)', 'boolean', 'ctm_owner', 'false', 'v'),
    ('rotate_api_key(uuid,interval)', 'TABLE(id uuid, key text)', 'ctm_owner', 'false', 'v'),
    ('rotate_encrypted_settings(text,text)', 'integer', 'ctm_owner', 'false', 'v'),
    ('seal_audit_log(boolean)', 'bigint', 'ctm_owner', 'true', 'v'),
    ('set_encrypted_setting(character varying,jsonb,text,character varying,text,character varying)', 'uuid', 'ctm_owner', 'false', 'v'),
    ('task_dependency_closure(text[],boolean)', 'TABLE(task_id uuid, root_task_id uuid, depth integer, path uuid[], in_cycle boolean)', 'ctm_owner', 'false', 's'),
    ('time_ordered_uuid()', 'uuid', 'ctm_owner', 'false', 'v'),
    ('update_updated_at_column()', 'trigger', 'ctm_owner', 'false', 'v'),
    ('verify_audit_log(text)', 'TABLE(intact boolean, problem text, row_id uuid, seal_number bigint, message text, rows_verified bigint, rows_removed bigint, rows_not_sealed bigint)', 'ctm_owner', 'true', 's')
) AS wanted;
SELECT is_empty('TABLE wanted_function EXCEPT TABLE found_function', 'each function is there');
SELECT is_empty('TABLE found_function EXCEPT TABLE wanted_function', 'and no other is');

CREATE TEMPORARY VIEW found_view AS
SELECT class.relname::text, relkind::text,
       string_agg(attname::text || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
FROM pg_class class JOIN pg_attribute ON attrelid = class.oid AND attnum > 0
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm') AND pg_get_userbyid(relowner) = 'ctm_owner'
GROUP BY 1, 2;
CREATE TEMPORARY TABLE wanted_view AS
SELECT * FROM (VALUES
    ('active_tasks', 'v', 'id uuid, title character varying(255), description text, type character varying(50), status character varying(50), priority integer, complexity_score integer, parent_task_id uuid, assigned_to character varying(255), tags jsonb, estimated_hours numeric(8,2), actual_hours numeric(8,2), created_at timestamp with time zone, updated_at timestamp with time zone'),
    ('comprehensive_dashboard', 'v', 'section text, name text, value numeric'),
    ('performance_monitoring', 'v', 'metric_category character varying(50), metric_name character varying(100), metric_unit character varying(20), samples bigint, minimum numeric, average numeric, maximum numeric, percentile_95 double precision, latest numeric, latest_at timestamp with time zone'),
    ('recent_activity', 'v', 'id uuid, entity_type character varying(50), entity_id uuid, action character varying(50), user_id character varying(255), timestamp timestamp with time zone'),
    ('system_health_dashboard', 'v', 'component text, total bigint, active bigint, failed bigint, status text'),
    ('task_dependency_tree', 'm', 'id uuid, title character varying(255), status character varying(50), priority integer, depth integer, path uuid[], root_task_id uuid, in_cycle boolean'),
    ('task_performance_summary', 'm', 'id uuid, title character varying(255), status character varying(50), complexity_score integer, estimated_hours numeric(8,2), actual_hours numeric(8,2), accuracy_percentage numeric, error_count bigint, deployment_script_count bigint, successful_deployments bigint, failed_deployments bigint, avg_deployment_duration_ms numeric, created_at timestamp with time zone, updated_at timestamp with time zone, completed_at timestamp with time zone'),
    ('task_summary', 'v', 'status character varying(50), task_count bigint, average_priority numeric, average_complexity numeric, estimated_hours numeric, actual_hours numeric')
) AS wanted;
SELECT is_empty('TABLE wanted_view EXCEPT TABLE found_view', 'each view is there, with its columns');
SELECT is_empty('TABLE found_view EXCEPT TABLE wanted_view', 'and no other is');

CREATE TEMPORARY VIEW found_index AS
SELECT tablename::text, indexname::text, substring(indexdef FROM ' USING (.*)$')
FROM pg_indexes JOIN pg_class ON pg_class.oid = format('public.%I', tablename)::regclass
WHERE schemaname = 'public' AND NOT relispartition AND tablename NOT LIKE 'schema\_repeatable%';
CREATE TEMPORARY TABLE wanted_index AS
SELECT * FROM (VALUES
    ('api_access_logs', 'api_access_logs_pkey', 'btree (id, created_at)'),
    ('api_access_logs', 'idx_api_access_logs_created_at', 'btree (created_at)'),
    ('api_access_logs', 'idx_api_access_logs_user_id', 'btree (user_id, created_at DESC)'),
    ('api_keys', 'api_keys_key_hash_key', 'btree (key_hash)'),
    ('api_keys', 'api_keys_pkey', 'btree (id)'),
    ('api_keys', 'idx_api_keys_key_prefix', 'btree (key_prefix)'),
    ('api_keys', 'idx_api_keys_user_id', 'btree (user_id)'),
    ('api_rate_limits', 'api_rate_limits_pkey', 'btree (api_key_id, scope)'),
    ('audit_logs', 'audit_logs_pkey', 'btree (id, "timestamp")'),
    ('audit_logs', 'idx_audit_logs_entity', 'btree (entity_type, entity_id)'),
    ('audit_logs', 'idx_audit_logs_timestamp', 'btree ("timestamp")'),
    ('audit_logs', 'idx_audit_logs_user_id', 'btree (user_id)'),
    ('audit_seals', 'audit_seals_digest_key', 'btree (digest)'),
    ('audit_seals', 'audit_seals_pkey', 'btree (number)'),
    ('configuration_settings', 'configuration_settings_pkey', 'btree (id)'),
    ('configuration_settings', 'configuration_settings_setting_key_key', 'btree (setting_key)'),
    ('deployment_scripts', 'deployment_scripts_pkey', 'btree (id)'),
    ('deployment_scripts', 'idx_deployment_scripts_task_id', 'btree (task_id, execution_order)'),
    ('error_logs', 'error_logs_pkey', 'btree (id)'),
    ('error_logs', 'idx_error_logs_created_at', 'btree (created_at)'),
    ('error_logs', 'idx_error_logs_deployment_script_id', 'btree (deployment_script_id) WHERE (deployment_script_id IS NOT NULL)'),
    ('error_logs', 'idx_error_logs_resolved_at', 'btree (resolved_at) WHERE resolved'),
    ('error_logs', 'idx_error_logs_task_id', 'btree (task_id) WHERE (task_id IS NOT NULL)'),
    ('error_logs', 'idx_error_logs_unresolved', 'btree (created_at) WHERE (NOT resolved)'),
    ('error_logs', 'idx_error_logs_workflow_state_id', 'btree (workflow_state_id) WHERE (workflow_state_id IS NOT NULL)'),
    ('performance_metrics', 'idx_performance_metrics_timestamp', 'btree ("timestamp")'),
    ('performance_metrics', 'idx_performance_metrics_type_name', 'btree (metric_type, metric_name)'),
    ('performance_metrics', 'performance_metrics_pkey', 'btree (id, "timestamp")'),
    ('schema_migrations', 'schema_migrations_pkey', 'btree (version)'),
    ('system_metrics', 'idx_system_metrics_category_name', 'btree (metric_category, metric_name, "timestamp" DESC)'),
    ('system_metrics', 'idx_system_metrics_timestamp', 'btree ("timestamp")'),
    ('system_metrics', 'system_metrics_pkey', 'btree (id, "timestamp")'),
    ('task_contexts', 'idx_task_contexts_task_id', 'btree (task_id)'),
    ('task_contexts', 'task_contexts_pkey', 'btree (id)'),
    ('task_dependencies', 'idx_task_dependencies_child', 'btree (child_task_id)'),
    ('task_dependencies', 'task_dependencies_parent_child_type_key', 'btree (parent_task_id, child_task_id, dependency_type)'),
    ('task_dependencies', 'task_dependencies_pkey', 'btree (id)'),
    ('task_dependency_tree', 'idx_task_dependency_tree_id_root', 'btree (id, root_task_id)'),
    ('task_dependency_tree', 'idx_task_dependency_tree_root', 'btree (root_task_id, depth)'),
    ('task_dependency_lanes', 'task_dependency_lanes_pkey', 'btree (lane)'),
    ('task_dependency_turn', 'task_dependency_turn_pkey', 'btree (only_row)'),
    ('task_performance_summary', 'idx_task_performance_summary_id', 'btree (id)'),
    ('tasks', 'idx_tasks_assigned_status', 'btree (assigned_to, status, created_at)'),
    ('tasks', 'idx_tasks_created_at', 'btree (created_at DESC, id DESC)'),
    ('tasks', 'idx_tasks_parent_task_id', 'btree (parent_task_id) WHERE (parent_task_id IS NOT NULL)'),
    ('tasks', 'idx_tasks_priority', 'btree (priority)'),
    ('tasks', 'idx_tasks_requirements_gin', 'gin (requirements)'),
    ('tasks', 'idx_tasks_search', 'gin (title gin_trgm_ops, description gin_trgm_ops)'),
    ('tasks', 'idx_tasks_status_priority', 'btree (status, priority DESC, created_at, id)'),
    ('tasks', 'idx_tasks_tags_gin', 'gin (tags)'),
    ('tasks', 'tasks_pkey', 'btree (id)'),
    ('webhook_events', 'idx_webhook_events_task_id', 'btree (task_id) WHERE (task_id IS NOT NULL)'),
    ('webhook_events', 'idx_webhook_events_waiting', 'btree (created_at) WHERE (NOT processed)'),
    ('webhook_events', 'webhook_events_pkey', 'btree (id)'),
    ('workflow_states', 'idx_workflow_states_started_at', 'btree (started_at)'),
    ('workflow_states', 'idx_workflow_states_status', 'btree (status)'),
    ('workflow_states', 'idx_workflow_states_task_id', 'btree (task_id)'),
    ('workflow_states', 'idx_workflow_states_workflow_id', 'btree (workflow_id)'),
    ('workflow_states', 'workflow_states_pkey', 'btree (id)')
) AS wanted;
SELECT is_empty('TABLE wanted_index EXCEPT TABLE found_index', 'each index is there');
SELECT is_empty('TABLE found_index EXCEPT TABLE wanted_index', 'and no other is');

SELECT is_empty(
    $$SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'O'$$,
    'every trigger is on');
SELECT is_empty('SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid', 'every index is valid');
SELECT is_empty(
    $$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef
        AND proowner IN ('ctm_owner'::regrole, 'ctm_key_lookup'::regrole)
        AND NOT EXISTS (SELECT FROM unnest(proconfig) setting
                        WHERE setting = 'search_path=pg_catalog, public, pg_temp')$$,
    'a function with its owner''s rights pins its search path');
SELECT is_empty(
    $$SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v' AND relowner = 'ctm_owner'::regrole
        AND current_setting('server_version_num')::integer >= 150000
        AND NOT coalesce(reloptions @> '{security_invoker=true}', false)$$,
    'a view reads with the rights of its reader');
SELECT is_empty(
    $$SELECT partition.inhrelid::regclass, parent.indexrelid::regclass
      FROM pg_inherits partition
      JOIN pg_index parent ON parent.indrelid = partition.inhparent
      WHERE NOT EXISTS (SELECT FROM pg_index child JOIN pg_inherits ON pg_inherits.inhrelid = child.indexrelid
                        WHERE child.indrelid = partition.inhrelid AND pg_inherits.inhparent = parent.indexrelid)$$,
    'each partition has the indexes of its log');
SELECT is((SELECT reloptions FROM pg_class WHERE oid = 'tasks'::regclass), '{fillfactor=90}', 'pages of tasks have room for updates');
SELECT is((SELECT relpersistence::text FROM pg_class WHERE oid = 'api_rate_limits'::regclass), 'u',
    'counters of the limits write no WAL');
SELECT is_empty(
    $$SELECT conrelid::regclass, conname FROM pg_constraint
      WHERE contype = 'f' AND connamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1])$$,
    'each foreign key has an index');
SELECT ok(has_column_privilege('readonly_users', 'api_keys', 'key_prefix', 'SELECT')
          AND NOT has_column_privilege('readonly_users', 'api_keys', 'key_hash', 'SELECT'),
    'reports read keys less their hash');

SELECT * FROM finish();
ROLLBACK;
