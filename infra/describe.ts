import { join } from "node:path";
import { databaseName, ownerRole } from "../database/roles.ts";
import { apiVersion } from "../api/index.ts";
import type { Descriptor, StackPaths } from "#stack";
import { farRepositoryOf } from "./backup/far-repository.ts";
import type { Configuration } from "./config.ts";
import type { Security } from "./security.ts";
import { runtimeDirectories, type SystemUsers } from "./runtime/local/local-runtime.ts";
import { supervisorPaths } from "./runtime/local/supervisor.ts";
import {
  addressOf,
  listenAddress,
  portNames,
  portOf,
  stanzaName,
  type Topology,
} from "./topology.ts";

export interface DescriptionSource {
  paths: StackPaths;
  configuration: Configuration;
  topology: Topology;
  users: SystemUsers;
  security: Pick<Security, "authorityPath" | "provisioning" | "etcd">;
  serverVersion: number;
  binaries: string;
  ports: Record<string, number>;
  edge: Descriptor["edge"];
}

/** The descriptor: what on-call commands need to know of the stack, without a secret. */
export function describeStack(source: DescriptionSource): Descriptor {
  const { paths, topology, users, security, ports } = source;
  const far = farRepositoryOf(source.configuration, paths.stack);
  const at = (name: string): { host: string; port: number } => ({
    host: listenAddress,
    port: portOf(ports, name),
  });
  const service = (name: string, kind: Descriptor["services"][number]["kind"]) => ({
    name,
    kind,
    log: join(paths.log, `${name}.log`),
  });
  return {
    format: 1,
    stack: paths.stack,
    runtime: "local",
    users,
    postgres: {
      version: source.serverVersion,
      binaries: source.binaries,
      cluster: stanzaName,
      database: databaseName,
      owner: ownerRole,
      migrator: "ctm_migrator",
      members: topology.members.map((member) => ({
        name: member.name,
        ...at(portNames.postgres(member.name)),
        rest: at(portNames.rest(member.name)),
        dataDirectory: member.dataDirectory,
        socketDirectory: member.socketDirectory,
        patroniConfiguration: member.patroniFolder,
        backrestConfiguration: member.backrestConfiguration,
      })),
      provisioning: security.provisioning,
      rw: at("readWrite"),
      ro: at("readOnly"),
      synchronous: source.configuration.synchronous && topology.members.length > 1,
      settings: topology.settings.explanation,
    },
    etcd: [{ name: topology.etcd.name, client: at("etcdClient"), peer: at("etcdPeer") }],
    tls: {
      authority: security.authorityPath,
      etcdCertificate: security.etcd.certificate,
      etcdKey: security.etcd.key,
    },
    backup: {
      stanza: stanzaName,
      policy: {
        fullDays: source.configuration.fullBackupDays,
        windowDays: source.configuration.windowDays,
        fullAt: source.configuration.fullBackupAt,
        incrementalMinutes: source.configuration.incrementalMinutes ?? null,
        rpoMinutes: source.configuration.rpoMinutes,
        rtoMinutes: source.configuration.rtoMinutes,
        archiveTimeoutSeconds: source.configuration.archiveTimeoutSeconds,
      },
      repositories: [
        { name: "near", number: 1, kind: "posix", path: topology.repository },
        ...(far === undefined
          ? []
          : [
              {
                name: "far",
                number: 2,
                kind: "s3" as const,
                path: far.path,
                endpoint: far.endpoint,
                region: far.region,
                bucket: far.bucket,
                configuration: topology.far.backrest,
                state: topology.far.state,
              },
            ]),
      ],
    },
    api: {
      url: addressOf(portOf(ports, "api")),
      adminUrl: addressOf(portOf(ports, "admin")),
      version: apiVersion,
    },
    edge: source.edge,
    supervisor: supervisorPaths(paths),
    runtimeDirectories: runtimeDirectories({
      paths,
      runtimeDirectories: topology.runtimeDirectories,
    }),
    services: [
      service("etcd", "etcd"),
      ...topology.members.map(({ name }) => service(name, "postgres")),
      service("proxy", "proxy"),
      service("api", "api"),
      ...(far === undefined ? [] : [service("copier", "copier")]),
      ...(source.edge === null ? [] : [service("cloudflared", "tunnel")]),
    ],
  };
}
