/** Debian packages that tests need beyond those of a local stack. */
export const testPackages: readonly string[] = [
  "postgresql-15",
  "postgresql-15-pgtap",
  "libtap-parser-sourcehandler-pgtap-perl",
  "pgbackrest",
  "rclone",
  "patroni",
  "etcd-server",
  "haproxy",
  "supervisor",
  "iproute2",
  "shellcheck",
  "python3-venv",
  // Payloads that the edge's rules must block, and texts that they must not.
  "sqlmap",
  "wfuzz",
  "modsecurity-crs",
  "fortunes",
];
