-- Every privilege on every table, view, column and function: who has it, and that nobody has another.
BEGIN;
SELECT plan(14);

CREATE TEMPORARY VIEW found_table_grant AS
SELECT pg_get_userbyid(grantee)::text, class.relname::text, string_agg(privilege_type, ', ' ORDER BY privilege_type)
      FROM pg_class class, aclexplode(class.relacl)
      WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p', 'v', 'm', 'S')
        AND NOT class.relispartition AND pg_get_userbyid(class.relowner) = 'ctm_owner' AND grantee <> class.relowner
      GROUP BY 1, 2;
CREATE TEMPORARY TABLE wanted_table_grant AS
SELECT * FROM (VALUES
    ('api_users', 'active_tasks', 'SELECT'),
    ('api_users', 'api_access_logs', 'INSERT'),
    ('api_users', 'comprehensive_dashboard', 'SELECT'),
    ('api_users', 'configuration_settings', 'SELECT'),
    ('api_users', 'deployment_scripts', 'INSERT, SELECT, UPDATE'),
    ('api_users', 'error_logs', 'INSERT, SELECT, UPDATE'),
    ('api_users', 'performance_metrics', 'INSERT, SELECT'),
    ('api_users', 'performance_monitoring', 'SELECT'),
    ('api_users', 'system_health_dashboard', 'SELECT'),
    ('api_users', 'system_metrics', 'INSERT, SELECT'),
    ('api_users', 'task_contexts', 'INSERT, SELECT, UPDATE'),
    ('api_users', 'task_dependencies', 'INSERT, SELECT'),
    ('api_users', 'task_dependency_tree', 'SELECT'),
    ('api_users', 'task_performance_summary', 'SELECT'),
    ('api_users', 'task_summary', 'SELECT'),
    ('api_users', 'tasks', 'INSERT, SELECT, UPDATE'),
    ('api_users', 'webhook_events', 'INSERT, SELECT, UPDATE'),
    ('api_users', 'workflow_states', 'INSERT, SELECT, UPDATE'),
    ('authenticated_users', 'api_access_logs', 'SELECT'),
    ('authenticated_users', 'configuration_settings', 'SELECT'),
    ('ctm_api', 'api_rate_limits', 'DELETE, INSERT, SELECT, UPDATE'),
    ('ctm_key_lookup', 'api_keys', 'SELECT'),
    ('ctm_query', 'active_tasks', 'SELECT'),
    ('ctm_query', 'audit_logs', 'SELECT'),
    ('ctm_query', 'comprehensive_dashboard', 'SELECT'),
    ('ctm_query', 'configuration_settings', 'SELECT'),
    ('ctm_query', 'deployment_scripts', 'SELECT'),
    ('ctm_query', 'error_logs', 'SELECT'),
    ('ctm_query', 'performance_metrics', 'SELECT'),
    ('ctm_query', 'performance_monitoring', 'SELECT'),
    ('ctm_query', 'recent_activity', 'SELECT'),
    ('ctm_query', 'schema_migrations', 'SELECT'),
    ('ctm_query', 'system_health_dashboard', 'SELECT'),
    ('ctm_query', 'system_metrics', 'SELECT'),
    ('ctm_query', 'task_contexts', 'SELECT'),
    ('ctm_query', 'task_dependencies', 'SELECT'),
    ('ctm_query', 'task_dependency_tree', 'SELECT'),
    ('ctm_query', 'task_performance_summary', 'SELECT'),
    ('ctm_query', 'task_summary', 'SELECT'),
    ('ctm_query', 'tasks', 'SELECT'),
    ('ctm_query', 'workflow_states', 'SELECT'),
    ('readonly_users', 'active_tasks', 'SELECT'),
    ('readonly_users', 'api_access_logs', 'SELECT'),
    ('readonly_users', 'audit_logs', 'SELECT'),
    ('readonly_users', 'comprehensive_dashboard', 'SELECT'),
    ('readonly_users', 'configuration_settings', 'SELECT'),
    ('readonly_users', 'deployment_scripts', 'SELECT'),
    ('readonly_users', 'error_logs', 'SELECT'),
    ('readonly_users', 'performance_metrics', 'SELECT'),
    ('readonly_users', 'performance_monitoring', 'SELECT'),
    ('readonly_users', 'recent_activity', 'SELECT'),
    ('readonly_users', 'schema_migrations', 'SELECT'),
    ('readonly_users', 'system_health_dashboard', 'SELECT'),
    ('readonly_users', 'system_metrics', 'SELECT'),
    ('readonly_users', 'task_contexts', 'SELECT'),
    ('readonly_users', 'task_dependencies', 'SELECT'),
    ('readonly_users', 'task_dependency_tree', 'SELECT'),
    ('readonly_users', 'task_performance_summary', 'SELECT'),
    ('readonly_users', 'task_summary', 'SELECT'),
    ('readonly_users', 'tasks', 'SELECT'),
    ('readonly_users', 'webhook_events', 'SELECT'),
    ('readonly_users', 'workflow_states', 'SELECT')
) AS wanted;
SELECT is_empty('TABLE wanted_table_grant EXCEPT TABLE found_table_grant', 'each privilege on a table is granted');
SELECT is_empty('TABLE found_table_grant EXCEPT TABLE wanted_table_grant', 'and no other is');

CREATE TEMPORARY VIEW found_column_grant AS
SELECT pg_get_userbyid(grantee)::text, relname::text, privilege_type, string_agg(attname::text, ', ' ORDER BY attnum)
      FROM pg_class class JOIN pg_attribute ON attrelid = class.oid, aclexplode(attacl)
      WHERE class.relnamespace = 'public'::regnamespace AND pg_get_userbyid(class.relowner) = 'ctm_owner'
      GROUP BY 1, 2, 3;
CREATE TEMPORARY TABLE wanted_column_grant AS
SELECT * FROM (VALUES
    ('authenticated_users', 'api_keys', 'SELECT', 'id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day, allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active, created_at, updated_at, metadata'),
    ('authenticated_users', 'api_keys', 'UPDATE', 'key_name, is_active'),
    ('ctm_key_lookup', 'api_keys', 'UPDATE', 'last_used_at, usage_count'),
    ('ctm_query', 'api_access_logs', 'SELECT', 'id, request_id, endpoint, method, user_id, api_key_id, ip_address, user_agent, response_status, execution_time_ms, rate_limit_remaining, rate_limit_reset, created_at'),
    ('ctm_query', 'api_keys', 'SELECT', 'id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day, allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active, created_at, updated_at, metadata'),
    ('ctm_query', 'webhook_events', 'SELECT', 'id, task_id, event_type, event_source, event_data, signature_verified, processed, processed_at, processing_attempts, max_processing_attempts, next_retry_at, response_status, response_data, created_at, metadata'),
    ('readonly_users', 'api_keys', 'SELECT', 'id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day, allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active, created_at, updated_at, metadata')
) AS wanted;
SELECT is_empty('TABLE wanted_column_grant EXCEPT TABLE found_column_grant', 'each privilege on a column is granted');
SELECT is_empty('TABLE found_column_grant EXCEPT TABLE wanted_column_grant', 'and no other is');

CREATE TEMPORARY VIEW found_function_grant AS
SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee)::text END, routine.oid::regprocedure::text
      FROM pg_proc routine, aclexplode(coalesce(routine.proacl, acldefault('f', routine.proowner)))
      WHERE routine.pronamespace = 'public'::regnamespace
        AND pg_get_userbyid(routine.proowner) IN ('ctm_owner', 'ctm_key_lookup') AND grantee <> routine.proowner;
CREATE TEMPORARY TABLE wanted_function_grant AS
SELECT * FROM (VALUES
    ('api_users', 'get_deployment_statistics()'),
    ('api_users', 'get_error_statistics()'),
    ('api_users', 'get_task_statistics()'),
    ('api_users', 'time_ordered_uuid()'),
    ('ctm_api', 'find_api_key(text)'),
    ('ctm_api', 'get_encrypted_setting(character varying,text)'),
    ('ctm_api', 'record_api_key_usage(uuid[],integer[],timestamp with time zone[])'),
    ('ctm_query', 'get_deployment_statistics()'),
    ('ctm_query', 'get_error_statistics()'),
    ('ctm_query', 'get_task_statistics()'),
    ('readonly_users', 'get_deployment_statistics()'),
    ('readonly_users', 'get_error_statistics()'),
    ('readonly_users', 'get_task_statistics()')
) AS wanted;
SELECT is_empty('TABLE wanted_function_grant EXCEPT TABLE found_function_grant', 'each function is granted');
SELECT is_empty('TABLE found_function_grant EXCEPT TABLE wanted_function_grant', 'and no other is');

SELECT is_empty(
    $$SELECT defaclrole::regrole, acl FROM pg_default_acl, aclexplode(defaclacl) acl WHERE defaclobjtype = 'f' AND acl.grantee = 0$$,
    'functions to come are not for everybody');
SELECT is((SELECT count(*)::integer FROM pg_default_acl WHERE defaclrole = 'ctm_owner'::regrole AND defaclobjtype = 'f'), 1,
    'which is a rule of the owner''s');
SELECT is_empty(
    $$SELECT grantee::regrole, privilege_type FROM pg_namespace, aclexplode(nspacl)
      WHERE nspname = 'public' AND privilege_type = 'CREATE' AND grantee <> nspowner$$,
    'nobody but the owner creates anything in the schema');
SELECT is_empty(
    $$SELECT privilege_type FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'public' AND grantee = 0$$,
    'the schema is not for everybody');
SELECT is_empty(
    $$SELECT privilege_type FROM pg_database, aclexplode(datacl) WHERE datname = current_database() AND grantee = 0$$,
    'nor is the database');
SELECT is_empty(
    $$SELECT relname FROM pg_class
      WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND relowner <> 'ctm_owner'::regrole
        AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')$$,
    'the owner owns every table and view');
SELECT is_empty(
    $$SELECT rolname FROM pg_roles WHERE rolname IN ('ctm_key_lookup', 'ctm_owner', 'authenticated_users', 'api_users', 'readonly_users')
        AND rolcanlogin$$,
    'owners and groups are no logins');
SELECT is_empty(
    $$SELECT rolname FROM pg_roles WHERE (rolname LIKE 'ctm\_%' OR rolname LIKE '%\_users')
        AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)$$,
    'no role of ours steps past the rules');

SELECT * FROM finish();
ROLLBACK;
