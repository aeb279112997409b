/**
 * The one table of database roles. Pulumi provisions from it, and `roles.sql` is generated from it
 * for CI and for servers that somebody else provisions.
 */
export interface DatabaseRole {
  name: string;
  /** May log in. Passwords are never part of this table. */
  login: boolean;
  /** Roles that this one is a member of, with their privileges inherited. */
  memberOf: readonly string[];
  replication?: true;
  /** Most sessions at once. Default unlimited. */
  connectionLimit?: number;
  /**
   * Server settings of the role's sessions. Some may only be set by a superuser, which is the
   * point: the role cannot take them back.
   */
  settings?: Readonly<Record<string, string>>;
  purpose: string;
}

export interface RolePrivileges {
  role: string;
  privileges: readonly string[];
}

/**
 * Bind parameters carry API keys' hashes and the settings key, so the sessions that pass them never
 * log one, whatever the server logs otherwise.
 */
const logNoParameters = { log_parameter_max_length: "0", log_parameter_max_length_on_error: "0" };

/** In creation order: a role comes after those that it is a member of. */
export const roles: readonly DatabaseRole[] = [
  {
    name: "ctm_key_lookup",
    login: false,
    memberOf: [],
    purpose: "owns the functions that look up an API key and count its use, and nothing else",
  },
  {
    name: "ctm_owner",
    login: false,
    // Handing a function over needs membership in the role that receives it. The other shows a
    // migration that waits, and who looks with psql, what other sessions do, not just their numbers.
    memberOf: ["ctm_key_lookup", "pg_read_all_stats"],
    purpose: "owns the database, its schema and every object in it",
  },
  {
    name: "ctm_migrator",
    login: true,
    memberOf: ["ctm_owner"],
    settings: logNoParameters,
    purpose: "runs migrations and administration as ctm_owner",
  },
  {
    name: "authenticated_users",
    login: false,
    memberOf: [],
    purpose: "people: their own API keys and access logs, the settings of their environment",
  },
  {
    name: "api_users",
    login: false,
    memberOf: [],
    purpose: "services: tasks and everything that belongs to a task",
  },
  {
    name: "readonly_users",
    login: false,
    memberOf: [],
    purpose: "reports: reads everything but key hashes and secret settings",
  },
  {
    name: "ctm_api",
    login: true,
    memberOf: ["api_users", "authenticated_users"],
    settings: {
      statement_timeout: "60s",
      lock_timeout: "30s",
      idle_in_transaction_session_timeout: "60s",
      ...logNoParameters,
    },
    purpose: "the API",
  },
  {
    name: "ctm_query",
    login: true,
    // A member of nothing: SET ROLE, even from inside a function, must lead nowhere.
    memberOf: [],
    connectionLimit: 10,
    settings: {
      default_transaction_read_only: "on",
      statement_timeout: "30s",
      lock_timeout: "5s",
      idle_in_transaction_session_timeout: "30s",
      // Only a superuser may raise it: a careless sort fails instead of filling the disk.
      temp_file_limit: "1GB",
      ...logNoParameters,
    },
    purpose: "the API's query endpoint for administrators: reads columns without secrets",
  },
  {
    name: "ctm_monitor",
    login: true,
    memberOf: ["pg_monitor"],
    connectionLimit: 10,
    settings: { statement_timeout: "15s", lock_timeout: "2s" },
    purpose: "metrics exporters",
  },
  {
    name: "ctm_replicator",
    login: true,
    memberOf: [],
    replication: true,
    purpose: "streaming replication",
  },
  {
    name: "ctm_backup",
    login: true,
    memberOf: ["pg_read_all_settings"],
    purpose: "starts and stops backups (the functions of backupFunctions)",
  },
];

/** The database that everything lives in. */
export const databaseName = "taskmaster";

/** The role that owns the database, the schema and their objects. */
export const ownerRole = "ctm_owner";

/** The role that owns the functions which see every API key. */
export const keyLookupRole = "ctm_key_lookup";

/** The schema that everything lives in. */
export const schemaName = "public";

/**
 * Extensions, all in the schema public. The document names the first three; pg_trgm serves the task
 * list's search (docs/decisions/0023).
 */
export const extensions: readonly string[] = [
  "uuid-ossp",
  "pgcrypto",
  "pg_stat_statements",
  "pg_trgm",
];

/** On the database. PUBLIC holds nothing, the owner everything. */
export const databasePrivileges: readonly RolePrivileges[] = [
  { role: "ctm_migrator", privileges: ["CONNECT"] },
  { role: "authenticated_users", privileges: ["CONNECT"] },
  { role: "api_users", privileges: ["CONNECT"] },
  { role: "readonly_users", privileges: ["CONNECT"] },
  { role: "ctm_query", privileges: ["CONNECT"] },
  { role: "ctm_monitor", privileges: ["CONNECT"] },
  { role: "ctm_backup", privileges: ["CONNECT"] },
];

/** On the schema public. PUBLIC holds nothing, the owner everything. */
export const schemaPrivileges: readonly RolePrivileges[] = [
  { role: "ctm_key_lookup", privileges: ["USAGE"] },
  { role: "authenticated_users", privileges: ["USAGE"] },
  { role: "api_users", privileges: ["USAGE"] },
  { role: "readonly_users", privileges: ["USAGE"] },
  { role: "ctm_query", privileges: ["USAGE"] },
  { role: "ctm_monitor", privileges: ["USAGE"] },
];

/**
 * What ctm_backup may execute, by signature: the functions got other names in PostgreSQL 15.
 * Function privileges belong to one database: grant them in the one that the backup tool uses.
 */
export function backupFunctions(majorVersion: number): readonly string[] {
  return [
    ...(majorVersion >= 15
      ? ["pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"]
      : ["pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)"]),
    "pg_switch_wal()",
    "pg_create_restore_point(text)",
    // With which pgBackRest sees to it that one backup runs at a time; else closedFunctions'.
    "pg_try_advisory_lock(bigint)",
  ];
}

/**
 * Functions of the server, by name, that PostgreSQL lets everybody execute and that only the owner
 * does here: with a lock of its own any login could put off a migration or a seal of the audit log,
 * with a message in WAL pretend that a table was dropped, and with large objects, which need no
 * privilege and before PostgreSQL 16 not even a writable transaction, fill the disk
 * (docs/decisions/0061). What releases locks stays open. Privileges belong to one database: that of
 * the tasks.
 */
export const closedFunctions: readonly string[] = [
  ...["", "try_"].flatMap((attempt) =>
    ["", "xact_"].flatMap((span) =>
      ["", "_shared"].map((mode) => `pg_${attempt}advisory_${span}lock${mode}`),
    ),
  ),
  "pg_logical_emit_message",
  "lo_creat",
  "lo_create",
  "lo_from_bytea",
];
