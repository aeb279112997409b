// Who may do what with every table, view and function: the declaration that the access matrix is
// checked against (docs/access.md is made from it). Whoever, and whatever, is not named is denied.
import {
  defineAccess,
  type ObjectDeclaration,
  type Outcome,
} from "./pgtap-runner/src/access/declaration.ts";

const alice = { "app.current_user_id": "alice", "app.current_environment": "production" };
const bob = { "app.current_user_id": "bob", "app.current_environment": "staging" };

const actors = {
  owner: { role: "authenticated_users", settings: alice },
  other: { role: "authenticated_users", settings: bob },
  "no context": { role: "authenticated_users" },
  "malformed context": {
    role: "authenticated_users",
    settings: { "app.current_user_id": "' OR 'a'='a", "app.current_environment": "%" },
  },
  "api for owner": { role: "ctm_api", settings: alice },
  "api without user": { role: "ctm_api" },
  service: { role: "api_users" },
  reports: { role: "readonly_users" },
  "admin query": { role: "ctm_query" },
  "key lookup": { role: "ctm_key_lookup" },
  administrator: { role: "ctm_owner" },
  migrator: { role: "ctm_migrator" },
  monitoring: { role: "ctm_monitor" },
  backup: { role: "ctm_backup" },
  replication: { role: "ctm_replicator" },
} as const;

type ActorName = keyof typeof actors;
type Expectations = NonNullable<ObjectDeclaration["expect"]>;
type ByCommand = Expectations[string];

/** Logged in as the API, or as a service. */
const services: readonly ActorName[] = ["api for owner", "api without user", "service"];
const readers: readonly ActorName[] = ["reports", "admin query"];
const administrators: readonly ActorName[] = ["administrator", "migrator"];

function grant(names: readonly ActorName[], commands: ByCommand): Expectations {
  return Object.fromEntries(names.map((name) => [name, commands]));
}

/** Everything, as the owner of the schema has it. */
const ownTable = grant(administrators, {
  select: "all",
  insert: ["new"],
  update: "all",
  delete: "all",
  truncate: "allowed",
});
const ownView = grant(administrators, { select: "all" });
const ownFunction = grant(administrators, { execute: "allowed" });

/** A table of the work itself: services read it, add to it and, mostly, change it. */
function work(options: { update: boolean }): ObjectDeclaration {
  const update: { update?: Outcome } = options.update ? { update: "all" } : {};
  return {
    expect: {
      ...ownTable,
      ...grant(services, { select: "all", insert: ["new"], ...update }),
      ...grant(readers, { select: "all" }),
    },
  };
}

/** A view that services and readers see whole. */
const openView: ObjectDeclaration = {
  expect: { ...ownView, ...grant([...services, ...readers], { select: "all" }) },
};

/** A view through which rows can be changed; only the owner may. */
const changeableView = grant(administrators, {
  select: "all",
  insert: ["new"],
  update: "all",
  delete: "all",
});

const internal: ObjectDeclaration = { expect: ownTable };
const internalFunction: ObjectDeclaration = { expect: ownFunction };
const apiFunction = (...others: ActorName[]): ObjectDeclaration => ({
  expect: {
    ...ownFunction,
    ...grant(["api for owner", "api without user", ...others], { execute: "allowed" }),
  },
});
const statistics: ObjectDeclaration = {
  expect: { ...ownFunction, ...grant([...services, ...readers], { execute: "allowed" }) },
};

export default defineAccess({
  title: "Who may do what",
  // Without triggers, or the audit log would hold a row for each of these.
  setup: `
    SET LOCAL session_replication_role = replica;
    DELETE FROM configuration_settings;
    DELETE FROM audit_logs;
    INSERT INTO tasks (id, title) VALUES
      ('00000000-0000-4000-8000-000000000001', 'one'), ('00000000-0000-4000-8000-000000000002', 'two');
    INSERT INTO task_contexts (task_id, context_type, context_data)
      VALUES ('00000000-0000-4000-8000-000000000001', 'workflow', '{}');
    INSERT INTO task_dependencies (parent_task_id, child_task_id, dependency_type)
      VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002', 'related');
    INSERT INTO deployment_scripts (task_id, script_name, script_type, script_content)
      VALUES ('00000000-0000-4000-8000-000000000001', 'n', 'build', 'c');
    INSERT INTO workflow_states (workflow_id, step, status) VALUES ('w', 's', 'pending');
    INSERT INTO error_logs (error_type, error_message) VALUES ('runtime', 'm');
    INSERT INTO webhook_events (event_type, event_source, event_data) VALUES ('pr_created', 's', '{}');
    INSERT INTO system_metrics (metric_category, metric_name, metric_value) VALUES ('api', 'n', 1);
    INSERT INTO performance_metrics (metric_type) VALUES ('query');
    INSERT INTO api_keys (id, key_name, key_hash, key_prefix, user_id, is_active) VALUES
      ('00000000-0000-4000-8000-000000000011', 'in use', 'hash-1', 'prefix-1', 'alice', true),
      ('00000000-0000-4000-8000-000000000012', 'ended', 'hash-2', 'prefix-2', 'alice', false),
      ('00000000-0000-4000-8000-000000000013', 'in use', 'hash-3', 'prefix-3', 'bob', true);
    INSERT INTO api_access_logs (request_id, endpoint, method, user_id) VALUES
      ('r1', '/', 'GET', 'alice'), ('r2', '/', 'GET', 'bob'), ('r3', '/', 'GET', NULL);
    INSERT INTO api_rate_limits (api_key_id, scope, short_window, long_window)
      VALUES ('00000000-0000-4000-8000-000000000011', 'query', 1, 1);
    INSERT INTO configuration_settings
        (setting_key, setting_value, setting_type, environment, is_encrypted, is_sensitive) VALUES
      ('everywhere', '1', 'number', 'all', false, false),
      ('production', '1', 'number', 'production', false, false),
      ('staging', '1', 'number', 'staging', false, false),
      ('sensitive', '1', 'number', 'all', false, true),
      ('encrypted', '"-----BEGIN PGP MESSAGE-----"', 'encrypted', 'all', true, true);
    INSERT INTO audit_logs (entity_type, entity_id, action)
      SELECT entity_type, uuid_nil(), 'create'
      FROM unnest('{task,api_keys,configuration_settings,api_access_logs}'::text[]) entity_type;
    REFRESH MATERIALIZED VIEW task_dependency_tree;
    REFRESH MATERIALIZED VIEW task_performance_summary;
    SET LOCAL session_replication_role = origin;`,
  actors,
  objects: {
    // Guarded by policies.
    api_keys: {
      rows: {
        "alice's": "user_id = 'alice' AND is_active",
        "alice's ended": "user_id = 'alice' AND NOT is_active",
        "bob's": "user_id = 'bob'",
      },
      expect: {
        ...ownTable,
        owner: { select: ["alice's", "alice's ended"], update: ["alice's"] },
        other: { select: ["bob's"], update: ["bob's"] },
        "no context": { select: "none", update: "none" },
        "malformed context": { select: "none", update: "none" },
        "api for owner": { select: ["alice's", "alice's ended"], update: ["alice's"] },
        "api without user": { select: "none", update: "none" },
        reports: { select: "none" },
        "admin query": { select: "all" },
        "key lookup": { select: "all", update: "all" },
      },
    },
    api_access_logs: {
      rows: {
        "alice's": "user_id = 'alice'",
        "bob's": "user_id = 'bob'",
        "nobody's": "user_id IS NULL",
      },
      expect: {
        ...ownTable,
        owner: { select: ["alice's"] },
        other: { select: ["bob's"] },
        "no context": { select: "none" },
        "malformed context": { select: "none" },
        "api for owner": { select: ["alice's"], insert: ["new"] },
        "api without user": { select: "none", insert: ["new"] },
        service: { insert: ["new"] },
        reports: { select: "none" },
        "admin query": { select: "all" },
      },
    },
    configuration_settings: {
      rows: {
        everywhere: "setting_key = 'everywhere'",
        production: "setting_key = 'production'",
        staging: "setting_key = 'staging'",
        secret: "is_encrypted OR is_sensitive",
      },
      expect: {
        ...ownTable,
        owner: { select: ["everywhere", "production"] },
        other: { select: ["everywhere", "staging"] },
        "no context": { select: ["everywhere"] },
        "malformed context": { select: ["everywhere"] },
        "api for owner": { select: ["everywhere", "production"] },
        "api without user": { select: ["everywhere"] },
        service: { select: ["everywhere"] },
        reports: { select: ["everywhere"] },
        "admin query": { select: ["everywhere", "production", "staging"] },
      },
    },
    audit_logs: {
      rows: {
        "of tasks": "entity_type = 'task'",
        "of guarded tables":
          "entity_type IN ('api_keys', 'configuration_settings', 'api_access_logs')",
      },
      expect: {
        ...ownTable,
        reports: { select: ["of tasks"] },
        "admin query": { select: "all" },
      },
    },
    // There is no way past a guarded table to its partitions, nor past any other log to its.
    "api_access_logs_*": internal,
    "audit_logs_*": internal,
    "system_metrics_*": internal,
    "performance_metrics_*": internal,

    // The work.
    tasks: work({ update: true }),
    task_contexts: work({ update: true }),
    workflow_states: work({ update: true }),
    deployment_scripts: work({ update: true }),
    error_logs: work({ update: true }),
    task_dependencies: work({ update: false }),
    system_metrics: work({ update: false }),
    performance_metrics: work({ update: false }),
    // What a client signed, and its headers, are not for the administrators' query: its columns are
    // granted, which a look at whole rows does not show.
    webhook_events: work({ update: true }),

    // The workings.
    api_rate_limits: {
      expect: {
        ...ownTable,
        ...grant(["api for owner", "api without user"], {
          select: "all",
          insert: ["new"],
          update: "all",
          delete: "all",
        }),
      },
    },
    schema_migrations: { expect: { ...ownTable, ...grant(readers, { select: "all" }) } },
    schema_repeatables: internal,
    audit_seals: internal,
    task_dependency_turn: internal,
    task_dependency_lanes: internal,

    // Views read with the rights of whoever reads them.
    active_tasks: {
      expect: { ...changeableView, ...grant([...services, ...readers], { select: "all" }) },
    },
    recent_activity: { expect: { ...changeableView, ...grant(readers, { select: "all" }) } },
    task_summary: openView,
    system_health_dashboard: openView,
    comprehensive_dashboard: openView,
    performance_monitoring: openView,
    task_dependency_tree: openView,
    task_performance_summary: openView,

    // Functions.
    get_task_statistics: statistics,
    get_deployment_statistics: statistics,
    get_error_statistics: statistics,
    time_ordered_uuid: apiFunction("service"),
    find_api_key: apiFunction("key lookup"),
    record_api_key_usage: apiFunction("key lookup"),
    get_encrypted_setting: apiFunction(),
    ...Object.fromEntries(
      [
        "append_audit_seal",
        "audit_*",
        "check_api_key_lists",
        "cleanup_old_logs",
        "create_log_partitions",
        "decrypt_setting",
        "encrypt_setting",
        "generate_api_key",
        "guard_log_partition",
        "is_audited_*",
        "is_end_of_dependencies",
        "log_*",
        "numeric_setting",
        "refresh_materialized_views",
        "retention_days",
        "revoke_api_key",
        "rotate_*",
        "seal_audit_log",
        "set_encrypted_setting",
        "task_dependency_closure",
        "verify_audit_log",
      ].map((name) => [name, internalFunction]),
    ),
  },
});
