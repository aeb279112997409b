import * as pulumi from "@pulumi/pulumi";
import { join } from "node:path";
import { backrestConfiguration } from "../backup/backrest-configuration.ts";
import type { Configuration } from "../config.ts";
import { Cluster, ClusterSettings } from "../provider/resources.ts";
import type { LocalRuntime, SystemUsers } from "../runtime/local/local-runtime.ts";
import type { Readiness } from "../runtime/local/readiness.ts";
import { provisioningName, type Security } from "../security.ts";
import { listenAddress, portNames, portOf, stanzaName, type Topology } from "../topology.ts";
import { etcdConfiguration } from "./etcd-configuration.ts";
import {
  bootstrapConfiguration,
  dynamicConfiguration,
  memberConfiguration,
} from "./patroni-configuration.ts";
import { proxyConfiguration } from "./proxy-configuration.ts";

export interface PostgresClusterArguments {
  configuration: Configuration;
  topology: Topology;
  users: SystemUsers;
  runtime: LocalRuntime;
  security: Security;
  /** Folder of postgres, pg_ctl and initdb. */
  binaries: string;
  /** What members need before they start, such as the folder of the repository. */
  after: pulumi.Resource[];
}

/** Seconds that a clean stop of PostgreSQL may take: its shutdown writes a checkpoint. */
const postgresStopSeconds = 120;

/** etcd, the members under Patroni, the proxy, and the proof that they are one healthy cluster. */
export class PostgresCluster extends pulumi.ComponentResource {
  /** Patroni's REST API by member, for whoever asks the cluster something. */
  readonly endpoints: pulumi.Output<
    Record<string, { host: string; port: number; authority: string }>
  >;
  readonly cluster: Cluster;
  /** Exists once the members run with the settings that this stack asks for. */
  readonly settings: ClusterSettings;

  constructor(
    name: string,
    args: PostgresClusterArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:postgres:PostgresCluster", name, {}, options);
    const { configuration, topology, runtime, security } = args;
    const dynamic = dynamicConfiguration({
      synchronous: configuration.synchronous && topology.members.length > 1,
      archiveTimeoutSeconds: configuration.archiveTimeoutSeconds,
      settings: topology.settings,
    });

    this.endpoints = runtime.ports.apply((ports) =>
      Object.fromEntries(
        topology.members.map(({ name: member }) => [
          member,
          {
            host: listenAddress,
            port: portOf(ports, portNames.rest(member)),
            authority: security.authorityPath,
          },
        ]),
      ),
    );
    const etcd = this.#etcd(args);
    const members = topology.members.map((member, index) =>
      this.#member(args, member.name, dynamic, [etcd, ...args.after], index),
    );
    const proxy = this.#proxy(args, members);
    this.cluster = new Cluster(
      "cluster",
      {
        name: stanzaName,
        endpoints: this.endpoints,
        members: Object.fromEntries(topology.members.map((member) => [member.name, "running"])),
      },
      { parent: this, dependsOn: [...members, proxy] },
    );
    this.settings = new ClusterSettings(
      "settings",
      {
        endpoints: this.endpoints,
        credentialsPath: security.patroniRest.path,
        configuration: dynamic,
        awaitingRestart: [],
      },
      { parent: this, dependsOn: this.cluster, deletedWith: this.cluster },
    );
    this.registerOutputs({});
  }

  #etcd({ runtime, users, topology, security }: PostgresClusterArguments): pulumi.Resource {
    const data = runtime.folder("etcd-data", topology.etcd.dataDirectory, users.postgres);
    const { configuration } = topology.etcd;
    return runtime.service(
      {
        name: "etcd",
        command: ["etcd", `--config-file=${configuration}`],
        user: users.postgres,
        files: runtime.ports.apply((ports) => ({
          [configuration]: {
            content: etcdConfiguration({
              name: topology.etcd.name,
              host: listenAddress,
              clientPort: portOf(ports, "etcdClient"),
              peerPort: portOf(ports, "etcdPeer"),
              dataDirectory: topology.etcd.dataDirectory,
              token: stanzaName,
              authority: security.authorityPath,
              certificate: security.etcd.certificate,
              key: security.etcd.key,
            }),
            mode: "0600",
            owner: users.postgres,
          },
        })),
        restartWith: { certificate: security.etcd.fingerprint },
        listens: runtime.ports.apply((ports) => [
          { host: listenAddress, port: portOf(ports, "etcdClient") },
          { host: listenAddress, port: portOf(ports, "etcdPeer") },
        ]),
        readiness: runtime.ports.apply((ports): Readiness => ({
          kind: "tcp",
          host: listenAddress,
          port: portOf(ports, "etcdClient"),
        })),
        readyTimeoutSeconds: 30,
        stopWaitSeconds: 20,
        priority: 10,
      },
      this,
      [data, ...security.ready],
    );
  }

  #member(
    args: PostgresClusterArguments,
    name: string,
    dynamic: Record<string, unknown>,
    after: pulumi.Resource[],
    index: number,
  ): pulumi.Resource {
    const { runtime, users, topology, security, configuration, binaries } = args;
    const member = topology.members.find((one) => one.name === name);
    if (member === undefined) throw new Error(`no member ${name}`);
    const { ports } = runtime;
    const data = runtime.data(`${name}-data`, member.dataDirectory, users.postgres);
    const spool = runtime.folder(`${name}-spool`, member.spool, users.postgres);
    const file = (content: string): { content: string; mode: string; owner: string } => ({
      content,
      mode: "0600",
      owner: users.postgres,
    });
    const patroni = pulumi
      .all([ports, security.patroniRest.value, security.passwords.ctm_replicator.value])
      .apply(([chosen, rest, replicator]) =>
        memberConfiguration(
          {
            cluster: stanzaName,
            name,
            host: listenAddress,
            port: portOf(chosen, portNames.postgres(name)),
            restPort: portOf(chosen, portNames.rest(name)),
            dataDirectory: member.dataDirectory,
            socketDirectory: member.socketDirectory,
            binaries,
            systemUser: users.postgres,
            etcd: [{ host: listenAddress, port: portOf(chosen, "etcdClient") }],
            tls: {
              authority: security.authorityPath,
              serverCertificate: security.server.certificate,
              serverKey: security.server.key,
              etcdCertificate: security.etcd.certificate,
              etcdKey: security.etcd.key,
            },
            replicatorRole: "ctm_replicator",
            backupRole: "ctm_backup",
            provisioningName,
            backrestConfiguration: member.backrestConfiguration,
            stanza: stanzaName,
          },
          topology.settings.member,
          { rest, replicator },
        ),
      );
    const backrest = pulumi
      .all([ports, security.repositoryCipher.value])
      .apply(([chosen, cipher]) =>
        backrestConfiguration({
          stanza: stanzaName,
          dataDirectory: member.dataDirectory,
          socketDirectory: member.socketDirectory,
          port: portOf(chosen, portNames.postgres(name)),
          role: "ctm_backup",
          repository: topology.repository,
          passphrase: cipher,
          spool: member.spool,
          archiveLock: member.archiveLock,
          lock: topology.backrestLock,
          log: topology.backrestLog,
          cores: topology.cores,
          fullBackupDays: configuration.fullBackupDays,
        }),
      );
    return runtime.service(
      {
        name,
        command: ["patroni", member.patroniFolder],
        user: users.postgres,
        environment: { HOME: member.home },
        secretFiles: pulumi.secret(
          pulumi.all([patroni, backrest]).apply(([patroniText, backrestText]) => ({
            [join(member.patroniFolder, "patroni.yml")]: file(patroniText),
            [member.backrestConfiguration]: file(backrestText),
          })),
        ),
        initialFiles: {
          [join(member.patroniFolder, "bootstrap.yml")]: file(bootstrapConfiguration(dynamic)),
        },
        restartWith: {
          server: security.server.fingerprint,
          etcd: security.etcd.fingerprint,
        },
        reloadSignal: "HUP",
        listens: ports.apply((chosen) => [
          { host: listenAddress, port: portOf(chosen, portNames.postgres(name)) },
          { host: listenAddress, port: portOf(chosen, portNames.rest(name)) },
        ]),
        readiness: ports.apply((chosen): Readiness => ({
          kind: "http",
          host: listenAddress,
          port: portOf(chosen, portNames.rest(name)),
          path: "/liveness",
          authority: security.authorityPath,
        })),
        readyTimeoutSeconds: 120,
        stopWaitSeconds: postgresStopSeconds,
        stopSignal: "TERM",
        priority: 20 + index,
      },
      this,
      [data, spool, ...after, ...security.ready],
    );
  }

  #proxy(args: PostgresClusterArguments, members: pulumi.Resource[]): pulumi.Resource {
    const { runtime, users, topology, security } = args;
    return runtime.service(
      {
        name: "proxy",
        command: ["haproxy", "-W", "-f", topology.proxy.configuration],
        user: users.service,
        files: runtime.ports.apply((ports) => ({
          [topology.proxy.configuration]: {
            content: proxyConfiguration({
              host: listenAddress,
              readWritePort: portOf(ports, "readWrite"),
              readOnlyPort: portOf(ports, "readOnly"),
              members: topology.members.map(({ name }) => ({
                name,
                host: listenAddress,
                port: portOf(ports, portNames.postgres(name)),
                restPort: portOf(ports, portNames.rest(name)),
              })),
              authority: security.authorityPath,
              statisticsSocket: topology.proxy.statisticsSocket,
              maxConnections: Number(topology.settings.shared["max_connections"]),
            }),
            mode: "0644",
            owner: users.service,
          },
        })),
        restartWith: { server: security.server.fingerprint },
        reloadSignal: "USR2",
        listens: runtime.ports.apply((ports) => [
          { host: listenAddress, port: portOf(ports, "readWrite") },
          { host: listenAddress, port: portOf(ports, "readOnly") },
        ]),
        readiness: runtime.ports.apply((ports): Readiness => ({
          kind: "tcp",
          host: listenAddress,
          port: portOf(ports, "readWrite"),
        })),
        readyTimeoutSeconds: 30,
        stopWaitSeconds: 10,
        // HAProxy's quick stop: its graceful one waits for the clients' sessions to end.
        stopSignal: "TERM",
        priority: 30,
      },
      this,
      members,
    );
  }
}
