import { backrestOptions, type FarRepository } from "./far-repository.ts";

/** pgbackrest.conf of one member: it is pg1, the repository is near. */
export function backrestConfiguration(options: {
  stanza: string;
  dataDirectory: string;
  socketDirectory: string;
  port: number;
  role: string;
  repository: string;
  passphrase: string;
  spool: string;
  /** Of this member's archive commands: members on one host would block each other. */
  archiveLock: string;
  /** Of everything else, shared by all members: only one backup runs at a time. */
  lock: string;
  log: string;
  cores: number;
  fullBackupDays: number;
}): string {
  return `# Written by ctm: changes here are undone by the next up.
[global]
repo1-path=${options.repository}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=${options.passphrase}
repo1-bundle=y
repo1-retention-full-type=time
repo1-retention-full=${options.fullBackupDays}
compress-type=zst
process-max=${processes(options.cores)}
start-fast=y
delta=y
archive-async=y
spool-path=${options.spool}
lock-path=${options.lock}
log-path=${options.log}
log-level-console=info
log-level-file=info
log-level-stderr=off
log-timestamp=n

[global:archive-push]
log-level-console=warn
lock-path=${options.archiveLock}

# One segment at a time: the asynchronous fetch waits a minute for its lock after a crash.
[global:archive-get]
log-level-console=warn
lock-path=${options.archiveLock}
archive-async=n

[${options.stanza}]
pg1-path=${options.dataDirectory}
pg1-socket-path=${options.socketDirectory}
pg1-port=${options.port}
pg1-user=${options.role}
pg1-database=postgres
`;
}

/**
 * pgbackrest.conf whose repo1 is the far copy, for reading and restoring only. A file of its own:
 * archiving never depends on it.
 */
export function farBackrestConfiguration(options: {
  far: FarRepository;
  passphrase: string;
  stanza: string;
  /** Where a restore puts the data, unless `--pg1-path` says otherwise. */
  dataDirectory: string;
  lock: string;
  log: string;
  cores: number;
}): string {
  return `# Written by ctm: changes here are undone by the next up.
[global]
${backrestOptions(options.far)}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=${options.passphrase}
process-max=${processes(options.cores)}
delta=y
lock-path=${options.lock}
log-path=${options.log}
log-level-console=info
log-level-file=info
log-level-stderr=off
log-timestamp=n

[${options.stanza}]
pg1-path=${options.dataDirectory}
`;
}

function processes(cores: number): number {
  return Math.max(1, Math.min(8, cores));
}
