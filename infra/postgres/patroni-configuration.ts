import type { DerivedSettings } from "./settings.ts";

/** What one member's Patroni needs to know. Paths are absolute. */
export interface PatroniMember {
  cluster: string;
  name: string;
  host: string;
  port: number;
  restPort: number;
  dataDirectory: string;
  socketDirectory: string;
  binaries: string;
  /** OS user that runs PostgreSQL. */
  systemUser: string;
  etcd: readonly { host: string; port: number }[];
  tls: {
    authority: string;
    serverCertificate: string;
    serverKey: string;
    etcdCertificate: string;
    etcdKey: string;
  };
  replicatorRole: string;
  backupRole: string;
  /** Common name of the certificate that provisioning proves itself with. */
  provisioningName: string;
  backrestConfiguration: string;
  stanza: string;
}

/** Settings that every member of every stack has, and why. */
const commonParameters: Record<string, string> = {
  // Archiving, and standbys that can be rewound.
  archive_mode: "on",
  wal_compression: "on",
  // Found by its text in pg_stat_statements; utility statements may hold secrets.
  shared_preload_libraries: "pg_stat_statements",
  "pg_stat_statements.track_utility": "off",
  // Statements over 5 s are the document's alert; their parameters may hold secrets.
  log_min_duration_statement: "5s",
  log_parameter_max_length: "0",
  log_parameter_max_length_on_error: "0",
  log_lock_waits: "on",
  log_checkpoints: "on",
  log_temp_files: "10MB",
  log_line_prefix: "%m [%p] %q%u@%d %a ",
  log_timezone: "UTC",
  timezone: "UTC",
  lc_messages: "C.UTF-8",
  password_encryption: "scram-sha-256",
  checkpoint_completion_target: "0.9",
  checkpoint_timeout: "5min",
  idle_in_transaction_session_timeout: "1h",
  tcp_keepalives_idle: "60",
  tcp_keepalives_interval: "10",
  tcp_keepalives_count: "3",
};

/** Patroni's dynamic configuration: what all members share, in etcd. */
export function dynamicConfiguration(options: {
  synchronous: boolean;
  archiveTimeoutSeconds: number;
  settings: DerivedSettings;
}): Record<string, unknown> {
  return {
    // A leader is lost after ttl; 3.6 s to a healthy start and 19.4 s to a failover were measured.
    ttl: 20,
    loop_wait: 5,
    retry_timeout: 5,
    maximum_lag_on_failover: 16 * 1024 * 1024,
    // A leader that crashes may recover for so long before a standby takes over.
    primary_start_timeout: 60,
    synchronous_mode: options.synchronous,
    postgresql: {
      use_pg_rewind: true,
      use_slots: true,
      parameters: {
        wal_level: "replica",
        hot_standby: "on",
        wal_log_hints: "on",
        max_wal_senders: "10",
        max_replication_slots: "10",
        // A standby that stays away may not fill the leader's disk.
        max_slot_wal_keep_size: "4GB",
        wal_keep_size: "128MB",
        archive_timeout: `${options.archiveTimeoutSeconds}s`,
        ...options.settings.shared,
      },
    },
  };
}

/** Read once, when the first member initialises the cluster. */
export function bootstrapConfiguration(dynamic: Record<string, unknown>): string {
  return yaml({
    bootstrap: {
      dcs: dynamic,
      initdb: [
        "data-checksums",
        { encoding: "UTF8" },
        { locale: "C.UTF-8" },
        { username: "postgres" },
        { "auth-local": "peer" },
        { "auth-host": "scram-sha-256" },
      ],
    },
  });
}

/** patroni.yml of one member, with the passwords that Patroni needs. */
export function memberConfiguration(
  member: PatroniMember,
  parameters: Readonly<Record<string, string>>,
  secrets: { rest: string; replicator: string },
): string {
  const [restUser, restPassword] = splitOnce(secrets.rest);
  const replication = {
    username: member.replicatorRole,
    password: secrets.replicator,
    sslmode: "verify-full",
    sslrootcert: member.tls.authority,
  };
  const pgbackrest = `pgbackrest --config=${member.backrestConfiguration} --stanza=${member.stanza}`;
  return yaml({
    scope: member.cluster,
    namespace: "/ctm/",
    name: member.name,
    restapi: {
      listen: `${member.host}:${member.restPort}`,
      connect_address: `${member.host}:${member.restPort}`,
      certfile: member.tls.serverCertificate,
      keyfile: member.tls.serverKey,
      authentication: { username: restUser, password: restPassword },
    },
    ctl: { cacert: member.tls.authority },
    etcd3: {
      hosts: member.etcd.map(({ host, port }) => `${host}:${port}`),
      protocol: "https",
      cacert: member.tls.authority,
      cert: member.tls.etcdCertificate,
      key: member.tls.etcdKey,
    },
    postgresql: {
      listen: `${member.host}:${member.port}`,
      connect_address: `${member.host}:${member.port}`,
      data_dir: member.dataDirectory,
      bin_dir: member.binaries,
      pgpass: `${member.socketDirectory}/pgpass`,
      use_unix_socket: true,
      authentication: {
        superuser: { username: "postgres" },
        replication,
        rewind: replication,
      },
      create_replica_methods: ["basebackup"],
      basebackup: { checkpoint: "fast" },
      remove_data_directory_on_rewind_failure: true,
      remove_data_directory_on_diverged_timelines: true,
      parameters: {
        ...commonParameters,
        unix_socket_directories: member.socketDirectory,
        unix_socket_permissions: "0700",
        ssl: "on",
        ssl_ca_file: member.tls.authority,
        ssl_cert_file: member.tls.serverCertificate,
        ssl_key_file: member.tls.serverKey,
        ssl_min_protocol_version: "TLSv1.2",
        archive_command: `${pgbackrest} archive-push "%p"`,
        ...parameters,
      },
      recovery_conf: { restore_command: `${pgbackrest} archive-get %f "%p"` },
      pg_hba: hostBasedAuthentication(member),
      pg_ident: [
        `ctm ${member.systemUser} postgres`,
        `ctm ${member.systemUser} ${member.backupRole}`,
        `provisioning ${member.provisioningName} postgres`,
      ],
    },
  });
}

/** No trust, no clear text, no superuser by password. First match wins. */
function hostBasedAuthentication(member: PatroniMember): string[] {
  const network = "127.0.0.1/32";
  return [
    "local all postgres peer map=ctm",
    `local all ${member.backupRole} peer map=ctm`,
    "local all all scram-sha-256",
    `hostssl all postgres ${network} cert map=provisioning`,
    `hostssl replication ${member.replicatorRole} ${network} scram-sha-256`,
    `hostssl all all ${network} scram-sha-256`,
  ];
}

/** JSON is YAML, and needs no quoting rules of our own. */
function yaml(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function splitOnce(text: string): [string, string] {
  const separator = text.indexOf(":");
  return [text.slice(0, separator), text.slice(separator + 1)];
}
