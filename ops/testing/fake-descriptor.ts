import { firstBackupPolicy, type Descriptor } from "#stack";

/** The descriptor of a stack with two members that runs nowhere. */
export function fakeDescriptor(): Descriptor {
  const member = (name: string, port: number): Descriptor["postgres"]["members"][number] => ({
    name,
    host: "127.0.0.1",
    port,
    rest: { host: "127.0.0.1", port: port + 1000 },
    dataDirectory: `/state/${name}/data`,
    socketDirectory: `/run/${name}`,
    patroniConfiguration: `/state/${name}/patroni.yml`,
    backrestConfiguration: `/state/${name}/pgbackrest.conf`,
  });
  const etcd = { host: "127.0.0.1", port: 5479 };
  return {
    format: 1,
    stack: "local",
    runtime: "local",
    users: { postgres: "postgres", service: "ctm" },
    postgres: {
      version: 15,
      binaries: "/usr/lib/postgresql/15/bin",
      cluster: "main",
      database: "taskmaster",
      owner: "ctm_owner",
      migrator: "ctm_migrator",
      members: [member("node-1", 5501), member("node-2", 5502)],
      provisioning: { certificate: "/state/tls/postgres.crt", key: "/state/tls/postgres.key" },
      rw: { host: "127.0.0.1", port: 5500 },
      ro: { host: "127.0.0.1", port: 5499 },
      synchronous: true,
      settings: "shared_buffers 128MB",
    },
    etcd: [{ name: "etcd", client: etcd, peer: { ...etcd, port: 5480 } }],
    tls: {
      authority: "/state/tls/ca.crt",
      etcdCertificate: "/state/tls/etcd.crt",
      etcdKey: "/state/tls/etcd.key",
    },
    backup: {
      stanza: "main",
      policy: firstBackupPolicy,
      repositories: [{ name: "near", number: 1, kind: "posix", path: "/state/repository" }],
    },
    api: { url: "http://127.0.0.1:8080", adminUrl: "http://127.0.0.1:8081", version: "0.1.0" },
    edge: null,
    supervisor: {
      configuration: "/state/supervisord.conf",
      programs: "/state/programs",
      socket: "/run/supervisor.sock",
      pidFile: "/run/supervisord.pid",
      log: "/log/supervisord.log",
      stackDirectory: "/state",
    },
    runtimeDirectories: [],
    services: [
      { name: "etcd", kind: "etcd", log: "/log/etcd.log" },
      { name: "node-1", kind: "postgres", log: "/log/node-1.log" },
      { name: "node-2", kind: "postgres", log: "/log/node-2.log" },
      { name: "api", kind: "api", log: "/log/api.log" },
      { name: "proxy", kind: "proxy", log: "/log/proxy.log" },
    ],
  };
}
