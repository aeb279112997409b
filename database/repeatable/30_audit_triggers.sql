-- What is audited, and the two functions that do it (docs/decisions/0021). In one file, hence one
-- transaction: the triggers of 1.0 call the same function for each row, and must not meet the new one.
--
-- A change of this file locks a table only where a trigger is missing. Where all are, it holds up to
-- fourteen locks at the end, so it waits but shortly for each.
SET LOCAL lock_timeout = '100ms';

-- Records each row that a statement inserted, changed or deleted; of a changed row, the changed
-- columns. Arguments of the trigger: the entity type; columns whose values are secret; columns whose
-- change alone is not worth an audit row.
CREATE OR REPLACE FUNCTION audit_trigger_function() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    entity CONSTANT text := TG_ARGV[0];
    secret_columns CONSTANT text[] := coalesce(TG_ARGV[1], '{}');
    quiet_columns CONSTANT text[] := coalesce(TG_ARGV[2], '{}')::text[] || '{updated_at}';
    circumstances CONSTANT record := audit_circumstances();
BEGIN
    -- A row of schema_migrations has no id but a version.
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit_logs (entity_type, entity_id, action, new_values,
                                user_id, session_id, ip_address, user_agent, "timestamp", metadata)
        SELECT entity, coalesce((after.r ->> 'id')::uuid, md5(after.r ->> 'version')::uuid), 'create',
               CASE WHEN secret_columns = '{}' THEN after.r
                    ELSE audit_redact(after.r, secret_columns, after.r, after.r) END,
               circumstances.user_id, circumstances.session_id, circumstances.ip_address,
               circumstances.user_agent, circumstances."timestamp", circumstances.metadata
        FROM (SELECT to_jsonb(n) AS r FROM new_rows n) after;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO audit_logs (entity_type, entity_id, action, old_values,
                                user_id, session_id, ip_address, user_agent, "timestamp", metadata)
        SELECT entity, coalesce((before.r ->> 'id')::uuid, md5(before.r ->> 'version')::uuid), 'delete',
               CASE WHEN secret_columns = '{}' THEN before.r
                    ELSE audit_redact(before.r, secret_columns, before.r, before.r) END,
               circumstances.user_id, circumstances.session_id, circumstances.ip_address,
               circumstances.user_agent, circumstances."timestamp", circumstances.metadata
        FROM (SELECT to_jsonb(o) AS r FROM old_rows o) before;
    ELSE
        -- The two transition tables hold the rows in the same order, whatever became of their ids.
        INSERT INTO audit_logs (entity_type, entity_id, action, old_values, new_values,
                                user_id, session_id, ip_address, user_agent, "timestamp", metadata)
        SELECT entity, coalesce((before.r ->> 'id')::uuid, md5(before.r ->> 'version')::uuid),
               CASE WHEN changed.new_values ? 'status' THEN 'status_change' ELSE 'update' END,
               CASE WHEN secret_columns = '{}' THEN changed.old_values
                    ELSE audit_redact(changed.old_values, secret_columns, before.r, after.r) END,
               CASE WHEN secret_columns = '{}' THEN changed.new_values
                    ELSE audit_redact(changed.new_values, secret_columns, before.r, after.r) END,
               circumstances.user_id, circumstances.session_id, circumstances.ip_address,
               circumstances.user_agent, circumstances."timestamp", circumstances.metadata
        FROM (SELECT row_number() OVER () AS place, to_jsonb(o) AS r FROM old_rows o) before
        JOIN (SELECT row_number() OVER () AS place, to_jsonb(n) AS r FROM new_rows n) after
          ON after.place = before.place
        CROSS JOIN LATERAL (
            SELECT jsonb_object_agg(key, before.r -> key) AS old_values,
                   jsonb_object_agg(key, value) AS new_values
            FROM jsonb_each(after.r)
            WHERE value <> before.r -> key AND key <> ALL (quiet_columns)
        ) changed
        WHERE changed.new_values IS NOT NULL;
    END IF;
    RETURN NULL;
END
$$;

-- Records a statement on a log, or a TRUNCATE of any table, as one row that says how many rows it
-- touched: the rows of a log are records themselves, and arrive by the hundred. Argument: the entity
-- type.
CREATE OR REPLACE FUNCTION audit_statement_function() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    first_id uuid;
    row_count bigint;
    circumstances record;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT min(id::text)::uuid, count(*) INTO first_id, row_count FROM new_rows;
    ELSIF TG_OP <> 'TRUNCATE' THEN
        SELECT min(id::text)::uuid, count(*) INTO first_id, row_count FROM old_rows;
    ELSE
        -- WAL names no table, and event triggers know no TRUNCATE: by this message a recovery finds
        -- the moment before it. What is dropped leaves the same (infra/provider/types/drop-markers.ts).
        PERFORM pg_logical_emit_message(true, 'ctm', json_build_object(
            'event', 'truncate', 'schema', TG_TABLE_SCHEMA, 'table', TG_TABLE_NAME,
            'xid', pg_current_xact_id()::text, 'role', session_user,
            'application', current_setting('application_name'))::text);
    END IF;
    IF row_count = 0 THEN
        RETURN NULL;
    END IF;
    circumstances := audit_circumstances();
    INSERT INTO audit_logs (entity_type, entity_id, action, old_values, new_values,
                            user_id, session_id, ip_address, user_agent, "timestamp", metadata)
    VALUES (TG_ARGV[0], coalesce(first_id, '00000000-0000-0000-0000-000000000000'),
            CASE TG_OP WHEN 'INSERT' THEN 'create' ELSE lower(TG_OP) END,
            CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN jsonb_build_object('rows', row_count) END,
            CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN jsonb_build_object('rows', row_count) END,
            circumstances.user_id, circumstances.session_id, circumstances.ip_address,
            circumstances.user_agent, circumstances."timestamp", circumstances.metadata);
    RETURN NULL;
END
$$;

DO $$
DECLARE
    audited record;
    event text;
    rows_clause text;
BEGIN
    -- Those of 1.0 fire for each row; once for a statement, whatever it touches, is cheaper.
    FOR audited IN
        SELECT tgrelid::regclass AS table_name, tgname AS name
        FROM pg_trigger
        WHERE tgfoid = 'audit_trigger_function'::regproc AND tgtype & 1 = 1 AND NOT tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', audited.name, audited.table_name);
    END LOOP;

    FOR audited IN
        SELECT *, 'audit_trigger_function' AS function_name FROM (VALUES
            -- table, entity type, columns whose values are secret, columns not worth a row
            ('tasks', 'task', '{}', '{}'),
            ('task_contexts', 'task_context', '{}', '{}'),
            ('workflow_states', 'workflow_state', '{}', '{}'),
            ('task_dependencies', 'task_dependency', '{}', '{}'),
            ('deployment_scripts', 'deployment_script', '{}', '{}'),
            ('error_logs', 'error_log', '{}', '{}'),
            ('webhook_events', 'webhook_event', '{headers,signature}', '{}'),
            ('api_keys', 'api_key', '{key_hash}', '{last_used_at,usage_count}'),
            ('configuration_settings', 'configuration_setting', '{setting_value}', '{}'),
            ('schema_migrations', 'schema_migration', '{}', '{}')
        ) AS tables (table_name, entity_type, secret_columns, quiet_columns)
        UNION ALL
        SELECT table_name, entity_type, '{}', '{}', 'audit_statement_function' FROM (VALUES
            ('audit_logs', 'audit_log'),
            ('api_access_logs', 'api_access_log'),
            ('system_metrics', 'system_metric'),
            ('performance_metrics', 'performance_metric')
        ) AS logs (table_name, entity_type)
    LOOP
        FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
            CONTINUE WHEN audited.table_name = 'audit_logs' AND event = 'insert';
            CONTINUE WHEN EXISTS (
                SELECT FROM pg_trigger
                WHERE tgrelid = format('public.%I', audited.table_name)::regclass
                  AND tgname = format('audit_%s_%s', audited.table_name, event));
            rows_clause := CASE event
                WHEN 'insert' THEN 'REFERENCING NEW TABLE AS new_rows'
                WHEN 'update' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'
                WHEN 'delete' THEN 'REFERENCING OLD TABLE AS old_rows'
                ELSE '' END;
            EXECUTE format(
                'CREATE TRIGGER %I AFTER %s ON public.%I %s FOR EACH STATEMENT EXECUTE FUNCTION %s',
                format('audit_%s_%s', audited.table_name, event), event, audited.table_name,
                rows_clause,
                CASE WHEN event = 'truncate' OR audited.function_name = 'audit_statement_function'
                     THEN format('audit_statement_function(%L)', audited.entity_type)
                     ELSE format('audit_trigger_function(%L, %L, %L)', audited.entity_type,
                                 audited.secret_columns, audited.quiet_columns) END);
        END LOOP;
    END LOOP;
END
$$;
