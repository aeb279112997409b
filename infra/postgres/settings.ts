const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;

/** What PostgreSQL may use on one host, and how many members share it. */
export interface Resources {
  memoryBytes: number;
  cores: number;
  members: number;
}

/** Settings that Patroni keeps equal on all members, since a standby may not have less of them. */
export interface DerivedSettings {
  /** Settings of one member alone, in PostgreSQL's own notation. */
  member: Record<string, string>;
  /** Settings that all members must share. */
  shared: Record<string, string>;
  /** One sentence for people: what was derived from what. */
  explanation: string;
}

/**
 * PostgreSQL settings from memory and cores. The shares are PostgreSQL's own advice
 * (https://www.postgresql.org/docs/15/runtime-config-resource.html: a quarter of the memory for
 * shared_buffers), bounded so that the smallest machine still starts.
 */
export function deriveSettings(resources: Resources): DerivedSettings {
  const memory = Math.floor(resources.memoryBytes / resources.members);
  const cores = Math.max(1, Math.floor(resources.cores / resources.members));
  const maxConnections = Math.min(400, Math.max(100, resources.cores * 50));
  const sharedBuffers = clamp(memory / 4, 64 * mebibyte, 16 * gibibyte);
  // A query may use it several times over, and every connection may run one.
  const workMemory = clamp(
    (memory - sharedBuffers) / (maxConnections * 3),
    4 * mebibyte,
    256 * mebibyte,
  );
  const maintenance = clamp(memory / 16, 32 * mebibyte, 2 * gibibyte);
  const walSize = clamp(memory / 4, 512 * mebibyte, 8 * gibibyte);
  return {
    member: {
      shared_buffers: megabytes(sharedBuffers),
      // It counts pages of 8 kB in 31 bits.
      effective_cache_size: megabytes(Math.min((memory * 3) / 4, 8192 * gibibyte)),
      work_mem: megabytes(workMemory),
      maintenance_work_mem: megabytes(maintenance),
      max_wal_size: megabytes(walSize),
      min_wal_size: megabytes(Math.min(walSize / 4, gibibyte)),
      max_parallel_workers: String(Math.max(2, cores)),
      max_parallel_workers_per_gather: String(Math.max(1, Math.floor(cores / 2))),
      // Data is on solid-state disks wherever this runs today.
      random_page_cost: "1.1",
      effective_io_concurrency: "200",
    },
    shared: {
      max_connections: String(maxConnections),
      max_worker_processes: String(Math.max(8, resources.cores)),
    },
    explanation: `shared_buffers ${megabytes(sharedBuffers)}, work_mem ${megabytes(workMemory)}, max_connections ${maxConnections} for each of ${resources.members} member(s), from ${megabytes(resources.memoryBytes)} and ${resources.cores} core(s)`,
  };
}

/**
 * Settings that Patroni takes from the dynamic configuration and ignores elsewhere
 * (CMDLINE_OPTIONS of patroni/postgresql/config.py).
 */
const sharedSettings: ReadonlySet<string> = new Set([
  "hot_standby",
  "max_connections",
  "max_locks_per_transaction",
  "max_prepared_transactions",
  "max_replication_slots",
  "max_wal_senders",
  "max_worker_processes",
  "track_commit_timestamp",
  "wal_keep_segments",
  "wal_keep_size",
  "wal_level",
  "wal_log_hints",
]);

/** The derived settings with those of the configuration over them, each where Patroni reads it. */
export function withParameters(
  derived: DerivedSettings,
  parameters: Readonly<Record<string, string>>,
): DerivedSettings {
  const only = (isShared: boolean): Record<string, string> =>
    Object.fromEntries(
      Object.entries(parameters).filter(([name]) => sharedSettings.has(name) === isShared),
    );
  const set = Object.entries(parameters).map(([name, value]) => `${name} ${value}`);
  return {
    explanation:
      set.length === 0
        ? derived.explanation
        : `${derived.explanation}; configured: ${set.join(", ")}`,
    member: { ...derived.member, ...only(false) },
    shared: { ...derived.shared, ...only(true) },
  };
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function megabytes(bytes: number): string {
  return `${Math.max(1, Math.floor(bytes / mebibyte))}MB`;
}
