-- Version 2.0: deployment scripts, errors, webhooks, API keys and their access log, system metrics,
-- settings, two materialised views, row security and the maintenance functions.
--
-- Everything is as documented (tables, columns, types, defaults, CHECK lists, view and function
-- names) and runs. What is documented and wrong is mended by the files after this one, so that a
-- database made by hand at this version goes the same way.
--
-- Locks: tasks and workflow_states against writers while the foreign keys to them are made, which
-- reads nothing. So that this stays short, the document's further indexes on tasks come in files of
-- their own, and the materialised views are made empty; they are filled at the end of the run.

SET LOCAL lock_timeout = '1s';

CREATE TABLE deployment_scripts (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    task_id UUID NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
    script_name VARCHAR(255) NOT NULL,
    script_type VARCHAR(50) NOT NULL,
    script_content TEXT NOT NULL,
    environment VARCHAR(50) NOT NULL DEFAULT 'development',
    version VARCHAR(50) NOT NULL DEFAULT '1.0.0',
    parameters JSONB DEFAULT '{}'::jsonb,
    execution_order INTEGER DEFAULT 0,
    timeout_seconds INTEGER DEFAULT 300,
    retry_count INTEGER DEFAULT 0,
    max_retries INTEGER DEFAULT 3,
    status VARCHAR(50) NOT NULL DEFAULT 'pending',
    executed_at TIMESTAMP WITH TIME ZONE,
    execution_duration_ms INTEGER,
    exit_code INTEGER,
    stdout_log TEXT,
    stderr_log TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT deployment_scripts_script_type_check
        CHECK (script_type IN ('build', 'test', 'deploy', 'rollback', 'migration', 'validation',
            'cleanup')),
    CONSTRAINT deployment_scripts_environment_check
        CHECK (environment IN ('development', 'staging', 'production', 'testing')),
    CONSTRAINT deployment_scripts_status_check
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'skipped')),
    CONSTRAINT deployment_scripts_retries_check
        CHECK (retry_count >= 0 AND retry_count <= max_retries),
    CONSTRAINT deployment_scripts_timeout_seconds_check CHECK (timeout_seconds > 0)
);

CREATE TABLE error_logs (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    task_id UUID REFERENCES tasks(id) ON DELETE SET NULL,
    deployment_script_id UUID REFERENCES deployment_scripts(id) ON DELETE SET NULL,
    workflow_state_id UUID REFERENCES workflow_states(id) ON DELETE SET NULL,
    error_type VARCHAR(50) NOT NULL,
    error_code VARCHAR(100),
    error_message TEXT NOT NULL,
    error_details JSONB DEFAULT '{}'::jsonb,
    stack_trace TEXT,
    context JSONB DEFAULT '{}'::jsonb,
    severity VARCHAR(20) NOT NULL DEFAULT 'error',
    source_component VARCHAR(100),
    source_file VARCHAR(255),
    source_line INTEGER,
    user_id VARCHAR(255),
    session_id VARCHAR(255),
    request_id VARCHAR(255),
    resolved BOOLEAN DEFAULT FALSE,
    resolved_at TIMESTAMP WITH TIME ZONE,
    resolved_by VARCHAR(255),
    resolution_notes TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT error_logs_error_type_check
        CHECK (error_type IN ('validation', 'compilation', 'runtime', 'network', 'database',
            'authentication', 'authorization', 'timeout', 'resource', 'configuration')),
    CONSTRAINT error_logs_severity_check
        CHECK (severity IN ('debug', 'info', 'warning', 'error', 'critical', 'fatal'))
);

CREATE TABLE webhook_events (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    task_id UUID REFERENCES tasks(id) ON DELETE SET NULL,
    event_type VARCHAR(50) NOT NULL,
    event_source VARCHAR(100) NOT NULL,
    event_data JSONB NOT NULL,
    headers JSONB DEFAULT '{}'::jsonb,
    signature VARCHAR(255),
    signature_verified BOOLEAN DEFAULT FALSE,
    processed BOOLEAN DEFAULT FALSE,
    processed_at TIMESTAMP WITH TIME ZONE,
    processing_attempts INTEGER DEFAULT 0,
    max_processing_attempts INTEGER DEFAULT 3,
    next_retry_at TIMESTAMP WITH TIME ZONE,
    response_status INTEGER,
    response_data JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT webhook_events_event_type_check
        CHECK (event_type IN ('task_created', 'task_updated', 'task_completed', 'task_failed',
            'deployment_started', 'deployment_completed', 'deployment_failed',
            'pr_created', 'pr_updated', 'pr_merged', 'pr_closed',
            'build_started', 'build_completed', 'build_failed',
            'test_started', 'test_completed', 'test_failed')),
    CONSTRAINT webhook_events_attempts_check
        CHECK (processing_attempts <= max_processing_attempts)
);

CREATE TABLE api_keys (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    key_name VARCHAR(255) NOT NULL,
    key_hash VARCHAR(255) NOT NULL UNIQUE,
    key_prefix VARCHAR(20) NOT NULL,
    user_id VARCHAR(255) NOT NULL,
    permissions JSONB NOT NULL DEFAULT '[]'::jsonb,
    rate_limit_per_hour INTEGER DEFAULT 1000,
    rate_limit_per_day INTEGER DEFAULT 10000,
    allowed_ips JSONB DEFAULT '[]'::jsonb,
    allowed_endpoints JSONB DEFAULT '[]'::jsonb,
    expires_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    usage_count INTEGER DEFAULT 0,
    is_active BOOLEAN DEFAULT TRUE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT api_keys_rate_limit_per_hour_check CHECK (rate_limit_per_hour > 0),
    CONSTRAINT api_keys_rate_limit_per_day_check CHECK (rate_limit_per_day > 0)
);

CREATE TABLE api_access_logs (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    request_id VARCHAR(255) NOT NULL,
    endpoint VARCHAR(255) NOT NULL,
    method VARCHAR(10) NOT NULL,
    user_id VARCHAR(255),
    api_key_id VARCHAR(255),
    ip_address INET,
    user_agent TEXT,
    request_headers JSONB,
    request_body JSONB,
    response_status INTEGER,
    response_headers JSONB,
    response_body JSONB,
    execution_time_ms INTEGER,
    rate_limit_remaining INTEGER,
    rate_limit_reset TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    CONSTRAINT api_access_logs_method_check
        CHECK (method IN ('GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'))
);

CREATE TABLE system_metrics (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    metric_category VARCHAR(50) NOT NULL,
    metric_name VARCHAR(100) NOT NULL,
    metric_value DECIMAL(15,6) NOT NULL,
    metric_unit VARCHAR(20),
    dimensions JSONB DEFAULT '{}'::jsonb,
    aggregation_period VARCHAR(20) DEFAULT 'instant',
    timestamp TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    CONSTRAINT system_metrics_metric_category_check
        CHECK (metric_category IN ('database', 'api', 'task_processing', 'deployment',
            'error_rate', 'performance', 'security', 'resource_usage')),
    CONSTRAINT system_metrics_aggregation_period_check
        CHECK (aggregation_period IN ('instant', '1min', '5min', '15min', '1hour', '1day'))
);

CREATE TABLE configuration_settings (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    setting_key VARCHAR(255) NOT NULL UNIQUE,
    setting_value JSONB NOT NULL,
    setting_type VARCHAR(50) NOT NULL,
    description TEXT,
    is_encrypted BOOLEAN DEFAULT FALSE,
    is_sensitive BOOLEAN DEFAULT FALSE,
    environment VARCHAR(50) DEFAULT 'all',
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_by VARCHAR(255),
    CONSTRAINT configuration_settings_setting_type_check
        CHECK (setting_type IN ('string', 'number', 'boolean', 'json', 'array', 'encrypted')),
    CONSTRAINT configuration_settings_environment_check
        CHECK (environment IN ('all', 'development', 'staging', 'production', 'testing'))
);

CREATE INDEX idx_deployment_scripts_task_id ON deployment_scripts(task_id, execution_order);

CREATE INDEX idx_error_logs_task_id ON error_logs(task_id) WHERE task_id IS NOT NULL;
CREATE INDEX idx_error_logs_deployment_script_id ON error_logs(deployment_script_id)
    WHERE deployment_script_id IS NOT NULL;
CREATE INDEX idx_error_logs_workflow_state_id ON error_logs(workflow_state_id)
    WHERE workflow_state_id IS NOT NULL;
CREATE INDEX idx_error_logs_created_at ON error_logs(created_at);
CREATE INDEX idx_error_logs_unresolved ON error_logs(created_at) WHERE NOT resolved;
CREATE INDEX idx_error_logs_resolved_at ON error_logs(resolved_at) WHERE resolved;

CREATE INDEX idx_webhook_events_task_id ON webhook_events(task_id) WHERE task_id IS NOT NULL;
CREATE INDEX idx_webhook_events_waiting ON webhook_events(created_at) WHERE NOT processed;

CREATE INDEX idx_api_keys_user_id ON api_keys(user_id);
CREATE INDEX idx_api_keys_key_prefix ON api_keys(key_prefix);

CREATE INDEX idx_api_access_logs_user_id ON api_access_logs(user_id, created_at DESC);
CREATE INDEX idx_api_access_logs_created_at ON api_access_logs(created_at);

CREATE INDEX idx_system_metrics_category_name
    ON system_metrics(metric_category, metric_name, timestamp DESC);
CREATE INDEX idx_system_metrics_timestamp ON system_metrics(timestamp);

CREATE TRIGGER update_deployment_scripts_updated_at BEFORE UPDATE ON deployment_scripts
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_api_keys_updated_at BEFORE UPDATE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_configuration_settings_updated_at BEFORE UPDATE ON configuration_settings
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE MATERIALIZED VIEW task_dependency_tree AS
WITH RECURSIVE dependency_tree AS (
    SELECT t.id, t.title, t.status, t.priority,
           0 AS depth, ARRAY[t.id] AS path, t.id AS root_task_id
    FROM tasks t
    WHERE NOT EXISTS (
        SELECT 1 FROM task_dependencies td
        WHERE td.child_task_id = t.id AND td.dependency_type = 'depends_on'
    )
    UNION ALL
    SELECT t.id, t.title, t.status, t.priority,
           dt.depth + 1, dt.path || t.id, dt.root_task_id
    FROM tasks t
    JOIN task_dependencies td ON t.id = td.child_task_id
    JOIN dependency_tree dt ON td.parent_task_id = dt.id
    WHERE td.dependency_type = 'depends_on'
    AND NOT t.id = ANY(dt.path)
)
SELECT * FROM dependency_tree
WITH NO DATA;

CREATE MATERIALIZED VIEW task_performance_summary AS
SELECT t.id, t.title, t.status, t.complexity_score,
       t.estimated_hours, t.actual_hours,
       CASE
           WHEN t.estimated_hours > 0 THEN (t.actual_hours / t.estimated_hours) * 100
           ELSE NULL
       END AS accuracy_percentage,
       COUNT(el.id) AS error_count,
       COUNT(ds.id) AS deployment_script_count,
       COUNT(CASE WHEN ds.status = 'completed' THEN 1 END) AS successful_deployments,
       COUNT(CASE WHEN ds.status = 'failed' THEN 1 END) AS failed_deployments,
       AVG(ds.execution_duration_ms) AS avg_deployment_duration_ms,
       t.created_at, t.updated_at, t.completed_at
FROM tasks t
LEFT JOIN error_logs el ON t.id = el.task_id
LEFT JOIN deployment_scripts ds ON t.id = ds.task_id
GROUP BY t.id, t.title, t.status, t.complexity_score,
         t.estimated_hours, t.actual_hours,
         t.created_at, t.updated_at, t.completed_at
WITH NO DATA;

CREATE VIEW system_health_dashboard AS
SELECT 'tasks' AS component, COUNT(*) AS total,
       COUNT(*) FILTER (WHERE status IN ('pending', 'in_progress')) AS active,
       COUNT(*) FILTER (WHERE status = 'failed') AS failed
FROM tasks
UNION ALL
SELECT 'deployments', COUNT(*), COUNT(*) FILTER (WHERE status IN ('pending', 'running')),
       COUNT(*) FILTER (WHERE status = 'failed')
FROM deployment_scripts
UNION ALL
SELECT 'workflows', COUNT(*), COUNT(*) FILTER (WHERE status IN ('pending', 'running')),
       COUNT(*) FILTER (WHERE status = 'failed')
FROM workflow_states
UNION ALL
SELECT 'errors', COUNT(*), COUNT(*) FILTER (WHERE resolved IS NOT TRUE),
       COUNT(*) FILTER (WHERE severity IN ('critical', 'fatal'))
FROM error_logs
UNION ALL
SELECT 'webhooks', COUNT(*), COUNT(*) FILTER (WHERE processed IS NOT TRUE),
       COUNT(*) FILTER (WHERE processed IS NOT TRUE
                        AND processing_attempts >= max_processing_attempts)
FROM webhook_events;

CREATE FUNCTION refresh_materialized_views() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    REFRESH MATERIALIZED VIEW task_dependency_tree;
    REFRESH MATERIALIZED VIEW task_performance_summary;
END;
$$;

CREATE FUNCTION cleanup_old_logs(days_to_keep INTEGER DEFAULT 90) RETURNS INTEGER
LANGUAGE plpgsql AS $$
DECLARE
    cutoff TIMESTAMP WITH TIME ZONE := NOW() - make_interval(days => days_to_keep);
    deleted INTEGER;
    total INTEGER := 0;
BEGIN
    DELETE FROM audit_logs WHERE timestamp < cutoff;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    total := total + deleted;
    DELETE FROM api_access_logs WHERE created_at < cutoff;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    total := total + deleted;
    DELETE FROM system_metrics WHERE timestamp < cutoff;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    total := total + deleted;
    DELETE FROM error_logs WHERE resolved AND resolved_at < cutoff;
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN total + deleted;
END;
$$;

CREATE FUNCTION generate_api_key(
    p_key_name VARCHAR,
    p_user_id VARCHAR,
    p_permissions JSONB DEFAULT '[]'::jsonb,
    p_rate_limit_per_hour INTEGER DEFAULT 1000,
    p_expires_days INTEGER DEFAULT 365
) RETURNS TABLE (id UUID, key TEXT)
LANGUAGE plpgsql AS $$
DECLARE
    new_key TEXT := 'ctm_' || encode(gen_random_bytes(32), 'hex');
BEGIN
    RETURN QUERY
    INSERT INTO api_keys (key_name, key_hash, key_prefix, user_id, permissions,
                          rate_limit_per_hour, expires_at)
    VALUES (p_key_name, encode(digest(new_key, 'sha256'), 'hex'), left(new_key, 20), p_user_id,
            p_permissions, p_rate_limit_per_hour, NOW() + make_interval(days => p_expires_days))
    RETURNING api_keys.id, new_key;
END;
$$;

GRANT SELECT, INSERT, UPDATE ON tasks, task_contexts, workflow_states TO api_users;
GRANT SELECT, INSERT, UPDATE ON deployment_scripts, error_logs, webhook_events TO api_users;
-- By name, not ON ALL TABLES: the schema also holds the views of pg_stat_statements.
GRANT SELECT ON tasks, task_contexts, workflow_states, task_dependencies, audit_logs,
    performance_metrics, deployment_scripts, error_logs, webhook_events, api_keys, api_access_logs,
    system_metrics, configuration_settings, schema_migrations, active_tasks, task_summary,
    recent_activity, system_health_dashboard, task_dependency_tree, task_performance_summary
    TO readonly_users;

ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_access_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE configuration_settings ENABLE ROW LEVEL SECURITY;

CREATE POLICY api_keys_user_policy ON api_keys
    FOR ALL TO authenticated_users
    USING (user_id = current_setting('app.current_user_id', true));

CREATE POLICY api_access_logs_user_policy ON api_access_logs
    FOR SELECT TO authenticated_users
    USING (user_id = current_setting('app.current_user_id', true));

CREATE POLICY configuration_settings_environment_policy ON configuration_settings
    FOR SELECT TO authenticated_users
    USING (environment = 'all' OR environment = current_setting('app.current_environment', true));

INSERT INTO configuration_settings (setting_key, setting_value, setting_type, description) VALUES
    ('api.rate_limit.default_per_hour', '1000', 'number', 'Requests that an API key may make in an hour'),
    ('api.rate_limit.default_per_day', '10000', 'number', 'Requests that an API key may make in a day'),
    ('api.request_timeout_ms', '30000', 'number', 'Deadline of an API request, in milliseconds'),
    ('database.connection_pool.min', '2', 'number', 'Fewest open connections of the primary pool'),
    ('database.connection_pool.max', '20', 'number', 'Most open connections of the primary pool'),
    ('security.api_key_expiry_days', '365', 'number', 'Days until a new API key expires'),
    ('monitoring.metrics_retention_days', '90', 'number', 'Days that metrics are kept'),
    ('webhook.max_retry_attempts', '3', 'number', 'Attempts to process a webhook event'),
    ('deployment.default_timeout_seconds', '300', 'number', 'Deadline of a deployment script, in seconds');
