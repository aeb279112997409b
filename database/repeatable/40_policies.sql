-- Row security (docs/decisions/0024). Written for the planner: what a session has set is read once, in
-- a sub-select, and compared with a plain column, so that the column's index serves
-- (1 million rows: 64 ms against 375 ms with a bare current_setting).
--
-- Being the owner, who administers, is a role. No setting makes an administrator of anybody, and
-- app.user_role is not looked at.
SET LOCAL lock_timeout = '100ms';

DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT polrelid::regclass AS table_name, polname AS name
        FROM pg_policy
        WHERE polrelid IN ('api_keys'::regclass, 'api_access_logs'::regclass,
                           'configuration_settings'::regclass, 'audit_logs'::regclass)
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', found.name, found.table_name);
    END LOOP;
    FOR found IN
        SELECT oid::regclass AS table_name
        FROM pg_class
        WHERE oid IN ('api_keys'::regclass, 'api_access_logs'::regclass,
                      'configuration_settings'::regclass, 'audit_logs'::regclass)
          AND NOT (relrowsecurity AND relforcerowsecurity)
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', found.table_name);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', found.table_name);
    END LOOP;
END
$$;

-- api_keys: people see their own, and may rename one or end it. Nothing ends, so nothing begins again:
-- a key that is not active is beyond their reach. Columns: 50_grants.sql.
CREATE POLICY api_keys_owner_policy ON api_keys TO ctm_owner USING (true) WITH CHECK (true);
CREATE POLICY api_keys_user_policy ON api_keys FOR SELECT TO authenticated_users
    USING (user_id = (SELECT nullif(current_setting('app.current_user_id', true), '')));
CREATE POLICY api_keys_user_change_policy ON api_keys FOR UPDATE TO authenticated_users
    USING (user_id = (SELECT nullif(current_setting('app.current_user_id', true), '')) AND is_active)
    WITH CHECK (user_id = (SELECT nullif(current_setting('app.current_user_id', true), '')));
CREATE POLICY api_keys_lookup_policy ON api_keys FOR SELECT TO ctm_key_lookup USING (true);
CREATE POLICY api_keys_usage_policy ON api_keys FOR UPDATE TO ctm_key_lookup
    USING (true) WITH CHECK (true);
CREATE POLICY api_keys_query_policy ON api_keys FOR SELECT TO ctm_query USING (true);

-- api_access_logs: services write it, people see their own.
CREATE POLICY api_access_logs_owner_policy ON api_access_logs TO ctm_owner USING (true) WITH CHECK (true);
CREATE POLICY api_access_logs_user_policy ON api_access_logs FOR SELECT TO authenticated_users
    USING (user_id = (SELECT nullif(current_setting('app.current_user_id', true), '')));
CREATE POLICY api_access_logs_write_policy ON api_access_logs FOR INSERT TO api_users WITH CHECK (true);
CREATE POLICY api_access_logs_query_policy ON api_access_logs FOR SELECT TO ctm_query USING (true);

-- configuration_settings: those of everywhere and of the session's environment, secret ones never.
CREATE POLICY configuration_settings_owner_policy ON configuration_settings TO ctm_owner
    USING (true) WITH CHECK (true);
CREATE POLICY configuration_settings_environment_policy ON configuration_settings FOR SELECT
    TO authenticated_users, api_users, readonly_users
    USING (is_encrypted IS NOT TRUE AND is_sensitive IS NOT TRUE
           AND (environment = 'all'
                OR environment = (SELECT nullif(current_setting('app.current_environment', true), ''))));
CREATE POLICY configuration_settings_query_policy ON configuration_settings FOR SELECT TO ctm_query
    USING (is_encrypted IS NOT TRUE AND is_sensitive IS NOT TRUE);

-- audit_logs: not guarded by the document, but it repeats what the three guarded tables hold, and
-- readonly_users read it.
CREATE POLICY audit_logs_owner_policy ON audit_logs TO ctm_owner USING (true) WITH CHECK (true);
CREATE POLICY audit_logs_readonly_policy ON audit_logs FOR SELECT TO readonly_users
    USING (entity_type NOT IN ('api_key', 'api_keys', 'api_access_log', 'api_access_logs',
                               'configuration_setting', 'configuration_settings'));
CREATE POLICY audit_logs_query_policy ON audit_logs FOR SELECT TO ctm_query USING (true);

DO $$
DECLARE
    partition_name name;
BEGIN
    FOR partition_name IN
        SELECT class.relname FROM pg_inherits JOIN pg_class class ON class.oid = inhrelid
        WHERE inhparent IN ('audit_logs'::regclass, 'api_access_logs'::regclass)
          AND NOT EXISTS (SELECT FROM pg_policy
                          WHERE polrelid = inhrelid AND polname = 'partition_owner_policy')
    LOOP
        PERFORM guard_log_partition(partition_name);
    END LOOP;
END
$$;
