-- Version 1.0: tasks, their contexts, workflow states and dependencies, audit and performance logs.
--
-- The tables, columns, types and constraints are those of the original. Two things differ so that
-- it works: the audit trigger writes the entity types that the table's CHECK accepts, and the
-- ledger schema_migrations is kept by the runner. Runs on an empty schema; locks nothing that
-- anybody uses.

CREATE TABLE tasks (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    title VARCHAR(255) NOT NULL,
    description TEXT,
    type VARCHAR(50) NOT NULL DEFAULT 'general',
    status VARCHAR(50) NOT NULL DEFAULT 'pending',
    priority INTEGER DEFAULT 0,
    complexity_score INTEGER DEFAULT 5,
    affected_files JSONB DEFAULT '[]'::jsonb,
    requirements JSONB DEFAULT '[]'::jsonb,
    acceptance_criteria JSONB DEFAULT '[]'::jsonb,
    parent_task_id UUID REFERENCES tasks(id) ON DELETE SET NULL,
    assigned_to VARCHAR(255),
    tags JSONB DEFAULT '[]'::jsonb,
    estimated_hours DECIMAL(8,2),
    actual_hours DECIMAL(8,2),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    completed_at TIMESTAMP WITH TIME ZONE,
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT tasks_status_check
        CHECK (status IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled')),
    CONSTRAINT tasks_priority_check CHECK (priority BETWEEN 0 AND 10),
    CONSTRAINT tasks_complexity_score_check CHECK (complexity_score BETWEEN 1 AND 10),
    CONSTRAINT tasks_estimated_hours_check CHECK (estimated_hours >= 0),
    CONSTRAINT tasks_actual_hours_check CHECK (actual_hours >= 0)
);

CREATE TABLE task_contexts (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    task_id UUID NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
    context_type VARCHAR(50) NOT NULL,
    context_data JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT task_contexts_context_type_check
        CHECK (context_type IN ('requirement', 'codebase', 'ai_interaction', 'validation',
            'workflow', 'status_change', 'completion', 'dependency_parent', 'dependency_child',
            'error', 'performance'))
);

CREATE TABLE workflow_states (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    workflow_id VARCHAR(255) NOT NULL,
    task_id UUID REFERENCES tasks(id) ON DELETE SET NULL,
    step VARCHAR(100) NOT NULL,
    status VARCHAR(50) NOT NULL,
    result JSONB,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    completed_at TIMESTAMP WITH TIME ZONE,
    error_message TEXT,
    retry_count INTEGER DEFAULT 0,
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT workflow_states_status_check
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'skipped')),
    CONSTRAINT workflow_states_retry_count_check CHECK (retry_count >= 0)
);

CREATE TABLE audit_logs (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    entity_type VARCHAR(50) NOT NULL,
    entity_id UUID NOT NULL,
    action VARCHAR(50) NOT NULL,
    old_values JSONB,
    new_values JSONB,
    user_id VARCHAR(255),
    session_id VARCHAR(255),
    ip_address INET,
    user_agent TEXT,
    timestamp TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT audit_logs_entity_type_check
        CHECK (entity_type IN ('task', 'task_context', 'workflow_state')),
    CONSTRAINT audit_logs_action_check
        CHECK (action IN ('create', 'update', 'delete', 'status_change'))
);

CREATE TABLE task_dependencies (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    parent_task_id UUID NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
    child_task_id UUID NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
    dependency_type VARCHAR(50) NOT NULL DEFAULT 'blocks',
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    metadata JSONB DEFAULT '{}'::jsonb,
    CONSTRAINT task_dependencies_dependency_type_check
        CHECK (dependency_type IN ('blocks', 'depends_on', 'related')),
    CONSTRAINT task_dependencies_not_itself_check CHECK (parent_task_id <> child_task_id),
    CONSTRAINT task_dependencies_parent_child_type_key
        UNIQUE (parent_task_id, child_task_id, dependency_type)
);

CREATE TABLE performance_metrics (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(),
    metric_type VARCHAR(50) NOT NULL,
    metric_name VARCHAR(100),
    metric_value DECIMAL(15,6),
    tags JSONB,
    timestamp TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    CONSTRAINT performance_metrics_metric_type_check
        CHECK (metric_type IN ('query', 'task', 'workflow', 'system'))
);

CREATE INDEX idx_tasks_status ON tasks(status);
CREATE INDEX idx_tasks_priority ON tasks(priority);
CREATE INDEX idx_tasks_assigned_to ON tasks(assigned_to);
CREATE INDEX idx_tasks_parent_task_id ON tasks(parent_task_id);
CREATE INDEX idx_tasks_created_at ON tasks(created_at);
CREATE INDEX idx_tasks_updated_at ON tasks(updated_at);
CREATE INDEX idx_tasks_type ON tasks(type);
CREATE INDEX idx_tasks_complexity_score ON tasks(complexity_score);

CREATE INDEX idx_task_contexts_task_id ON task_contexts(task_id);
CREATE INDEX idx_task_contexts_context_type ON task_contexts(context_type);
CREATE INDEX idx_task_contexts_created_at ON task_contexts(created_at);

CREATE INDEX idx_workflow_states_workflow_id ON workflow_states(workflow_id);
CREATE INDEX idx_workflow_states_task_id ON workflow_states(task_id);
CREATE INDEX idx_workflow_states_status ON workflow_states(status);
CREATE INDEX idx_workflow_states_started_at ON workflow_states(started_at);

CREATE INDEX idx_audit_logs_entity ON audit_logs(entity_type, entity_id);
CREATE INDEX idx_audit_logs_timestamp ON audit_logs(timestamp);
CREATE INDEX idx_audit_logs_user_id ON audit_logs(user_id);
CREATE INDEX idx_audit_logs_action ON audit_logs(action);

CREATE INDEX idx_task_dependencies_parent ON task_dependencies(parent_task_id);
CREATE INDEX idx_task_dependencies_child ON task_dependencies(child_task_id);

CREATE INDEX idx_performance_metrics_type_name ON performance_metrics(metric_type, metric_name);
CREATE INDEX idx_performance_metrics_timestamp ON performance_metrics(timestamp);

CREATE FUNCTION update_updated_at_column() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$;

CREATE FUNCTION audit_trigger_function() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    entity VARCHAR(50) := CASE TG_TABLE_NAME
        WHEN 'tasks' THEN 'task'
        WHEN 'task_contexts' THEN 'task_context'
        WHEN 'workflow_states' THEN 'workflow_state'
    END;
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit_logs (entity_type, entity_id, action, new_values)
        VALUES (entity, NEW.id, 'create', to_jsonb(NEW));
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO audit_logs (entity_type, entity_id, action, old_values, new_values)
        VALUES (entity, NEW.id, 'update', to_jsonb(OLD), to_jsonb(NEW));
    ELSE
        INSERT INTO audit_logs (entity_type, entity_id, action, old_values)
        VALUES (entity, OLD.id, 'delete', to_jsonb(OLD));
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER update_tasks_updated_at BEFORE UPDATE ON tasks
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_task_contexts_updated_at BEFORE UPDATE ON task_contexts
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE TRIGGER audit_tasks AFTER INSERT OR UPDATE OR DELETE ON tasks
    FOR EACH ROW EXECUTE FUNCTION audit_trigger_function();
CREATE TRIGGER audit_task_contexts AFTER INSERT OR UPDATE OR DELETE ON task_contexts
    FOR EACH ROW EXECUTE FUNCTION audit_trigger_function();
CREATE TRIGGER audit_workflow_states AFTER INSERT OR UPDATE OR DELETE ON workflow_states
    FOR EACH ROW EXECUTE FUNCTION audit_trigger_function();

CREATE VIEW active_tasks AS
SELECT id, title, description, type, status, priority, complexity_score, parent_task_id,
       assigned_to, tags, estimated_hours, actual_hours, created_at, updated_at
FROM tasks
WHERE status IN ('pending', 'in_progress');

CREATE VIEW task_summary AS
SELECT status, COUNT(*) AS task_count, AVG(priority) AS average_priority,
       AVG(complexity_score) AS average_complexity, SUM(estimated_hours) AS estimated_hours,
       SUM(actual_hours) AS actual_hours
FROM tasks
GROUP BY status;

CREATE VIEW recent_activity AS
SELECT id, entity_type, entity_id, action, user_id, timestamp
FROM audit_logs
WHERE timestamp > NOW() - INTERVAL '24 hours';
