-- The other indexes of version 2.0, which only a database made by hand can lack. Its tables of
-- scripts, errors, events and keys are small beside the logs, so these are built in place.
--
-- Locks: where one is missing, that table against writers while it is built.
-- On every other database there is nothing to build:
-- squawk-ignore-file require-concurrent-index-creation
SET LOCAL lock_timeout = '1s';

CREATE INDEX IF NOT EXISTS idx_deployment_scripts_task_id
    ON deployment_scripts (task_id, execution_order);
CREATE INDEX IF NOT EXISTS idx_error_logs_task_id
    ON error_logs (task_id) WHERE (task_id IS NOT NULL);
CREATE INDEX IF NOT EXISTS idx_error_logs_deployment_script_id
    ON error_logs (deployment_script_id) WHERE (deployment_script_id IS NOT NULL);
CREATE INDEX IF NOT EXISTS idx_error_logs_workflow_state_id
    ON error_logs (workflow_state_id) WHERE (workflow_state_id IS NOT NULL);
CREATE INDEX IF NOT EXISTS idx_error_logs_created_at
    ON error_logs (created_at);
CREATE INDEX IF NOT EXISTS idx_error_logs_unresolved
    ON error_logs (created_at) WHERE NOT resolved;
CREATE INDEX IF NOT EXISTS idx_error_logs_resolved_at
    ON error_logs (resolved_at) WHERE resolved;
CREATE INDEX IF NOT EXISTS idx_webhook_events_task_id
    ON webhook_events (task_id) WHERE (task_id IS NOT NULL);
CREATE INDEX IF NOT EXISTS idx_webhook_events_waiting
    ON webhook_events (created_at) WHERE NOT processed;
CREATE INDEX IF NOT EXISTS idx_api_keys_user_id
    ON api_keys (user_id);
CREATE INDEX IF NOT EXISTS idx_api_keys_key_prefix
    ON api_keys (key_prefix);
