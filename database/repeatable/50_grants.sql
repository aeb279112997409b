-- Who may do what. Everything that was granted before is taken back first, so that this file is the
-- whole truth, but for the views (20 and 21), which are made anew with their grants.

DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT DISTINCT class.oid::regclass AS table_name,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee
        FROM pg_class class, aclexplode(class.relacl)
        WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p', 'S')
          AND class.relowner = 'ctm_owner'::regrole AND grantee <> class.relowner
        UNION
        SELECT DISTINCT class.oid::regclass,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
        FROM pg_class class JOIN pg_attribute ON attrelid = class.oid, aclexplode(attacl)
        WHERE class.relnamespace = 'public'::regnamespace AND class.relkind IN ('r', 'p')
          AND class.relowner = 'ctm_owner'::regrole AND grantee <> class.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', found.table_name, found.grantee);
    END LOOP;
    FOR found IN
        SELECT DISTINCT routine.oid::regprocedure AS routine_name,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee
        FROM pg_proc routine, aclexplode(coalesce(routine.proacl, acldefault('f', routine.proowner)))
        WHERE routine.pronamespace = 'public'::regnamespace
          AND routine.proowner IN ('ctm_owner'::regrole, 'ctm_key_lookup'::regrole)
          AND grantee <> routine.proowner
    LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s', found.routine_name, found.grantee);
    END LOOP;
END
$$;

-- Services: as documented, and what the API does besides.
GRANT SELECT, INSERT, UPDATE ON tasks, task_contexts, workflow_states TO api_users;
GRANT SELECT, INSERT, UPDATE ON deployment_scripts, error_logs, webhook_events TO api_users;
GRANT SELECT, INSERT ON task_dependencies TO api_users;
GRANT SELECT, INSERT ON system_metrics, performance_metrics TO api_users;
GRANT INSERT ON api_access_logs TO api_users;
GRANT SELECT ON configuration_settings TO api_users;

-- People: their own keys and log, and settings. That only their own rows are meant is a policy.
GRANT SELECT (id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
              allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active,
              created_at, updated_at, metadata),
      UPDATE (key_name, is_active)
    ON api_keys TO authenticated_users;
GRANT SELECT ON api_access_logs, configuration_settings TO authenticated_users;

-- Reports: as documented, SELECT on everything, less the hashes. Row security leaves them no key, no
-- access log and no secret setting.
GRANT SELECT ON tasks, task_contexts, workflow_states, task_dependencies, audit_logs,
    performance_metrics, deployment_scripts, error_logs, webhook_events, api_access_logs,
    system_metrics, configuration_settings, schema_migrations TO readonly_users;
GRANT SELECT (id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
              allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active,
              created_at, updated_at, metadata)
    ON api_keys TO readonly_users;

-- The administrators' query: every table, less hashes, signatures, and what clients sent and got.
GRANT SELECT ON tasks, task_contexts, workflow_states, task_dependencies, audit_logs,
    performance_metrics, deployment_scripts, error_logs, system_metrics, configuration_settings,
    schema_migrations TO ctm_query;
GRANT SELECT (id, task_id, event_type, event_source, event_data, signature_verified, processed,
              processed_at, processing_attempts, max_processing_attempts, next_retry_at,
              response_status, response_data, created_at, metadata)
    ON webhook_events TO ctm_query;
GRANT SELECT (id, key_name, key_prefix, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
              allowed_ips, allowed_endpoints, expires_at, last_used_at, usage_count, is_active,
              created_at, updated_at, metadata)
    ON api_keys TO ctm_query;
GRANT SELECT (id, request_id, endpoint, method, user_id, api_key_id, ip_address, user_agent,
              response_status, execution_time_ms, rate_limit_remaining, rate_limit_reset, created_at)
    ON api_access_logs TO ctm_query;

-- The functions that look up a key and count its use.
GRANT SELECT, UPDATE (last_used_at, usage_count) ON api_keys TO ctm_key_lookup;

-- The API itself.
GRANT SELECT, INSERT, UPDATE, DELETE ON api_rate_limits TO ctm_api;
GRANT EXECUTE ON FUNCTION find_api_key(text),
    record_api_key_usage(uuid[], integer[], timestamptz[]),
    get_encrypted_setting(varchar, text) TO ctm_api;

GRANT EXECUTE ON FUNCTION get_task_statistics(), get_deployment_statistics(), get_error_statistics()
    TO api_users, readonly_users, ctm_query;
-- The default of the logs' ids runs as whoever inserts.
GRANT EXECUTE ON FUNCTION time_ordered_uuid() TO api_users;
