import { userInfo } from "node:os";
import type { StackPaths } from "#stack";
import { serviceNode } from "#engine";
import { Api } from "./api/api.ts";
import { FarCopy } from "./backup/far-copy.ts";
import { farRepositoryOf } from "./backup/far-repository.ts";
import { Connector } from "./cloudflare/connector.ts";
import { openEdge, type OpenEdge } from "./cloudflare/open-edge.ts";
import { type Configuration } from "./config.ts";
import { describeStack } from "./describe.ts";
import { PostgresCluster } from "./postgres/cluster.ts";
import { PostgresDatabase } from "./postgres/database.ts";
import { File, Stanza } from "./provider/resources.ts";
import { startsAtBoot } from "./runtime/local/boot-unit.ts";
import { LocalRuntime, systemUsers } from "./runtime/local/local-runtime.ts";
import { localPackages } from "./runtime/local/packages.ts";
import { binariesOf, serverVersion } from "./runtime/local/server-version.ts";
import { Security } from "./security.ts";
import { addressOf, listenAddress, portNames, portOf, stanzaName, topologyOf } from "./topology.ts";

/** The whole platform on this host; answers the edge before it, where one is configured. */
export async function platform(
  configuration: Configuration,
  paths: StackPaths,
): Promise<OpenEdge | undefined> {
  const users = systemUsers();
  const topology = topologyOf(configuration, paths, users);
  const version = await serverVersion(topology.members.map(({ dataDirectory }) => dataDirectory));
  const far = farRepositoryOf(configuration, paths.stack);
  const binaries = binariesOf(version);

  const runtime = new LocalRuntime("local", {
    paths,
    users,
    packages: [...localPackages(version), ...(far === undefined ? [] : ["rclone"])],
    ports: topology.ports,
    runtimeDirectories: topology.runtimeDirectories,
    atBoot: await startsAtBoot(),
  });
  const security = new Security("security", { paths, users, topology, after: runtime.base });
  const repository = runtime.data(
    "repository",
    topology.repository,
    users.postgres,
    topology.keep("repository"),
  );
  const backrestLog = runtime.folder("pgbackrest-log", topology.backrestLog, users.postgres);
  const cluster = new PostgresCluster("postgres", {
    configuration,
    topology,
    users,
    runtime,
    security,
    binaries,
    after: [repository, backrestLog],
  });
  const database = await PostgresDatabase.create("database", {
    serverVersion: version,
    readWritePort: runtime.ports.apply((ports) => portOf(ports, "readWrite")),
    security,
    cluster: cluster.cluster,
    after: [cluster.settings, ...security.ready],
  });
  const stanza = new Stanza(
    "stanza",
    {
      stanza: stanzaName,
      user: users.postgres,
      configurations: Object.fromEntries(
        topology.members.map(({ name, backrestConfiguration }) => [name, backrestConfiguration]),
      ),
      endpoints: cluster.endpoints,
      state: "archiving",
      fullBackup: true,
    },
    { dependsOn: [...database.backupReady, database.migrations], deletedWith: cluster.cluster },
  );
  const node = await serviceNode();
  if (far !== undefined) {
    await FarCopy.create("far-copy", {
      configuration,
      far,
      topology,
      users,
      runtime,
      security,
      node,
      after: [stanza],
    });
  }
  const edge = await openEdge(configuration, {
    origin: runtime.ports.apply((ports) => addressOf(portOf(ports, "api"))),
    paths,
    after: [runtime.base],
  });
  const api = await Api.create("api", {
    topology,
    users,
    runtime,
    security,
    access: edge?.access,
    node,
    after: [database.migrations, ...database.logins],
  });
  if (edge !== undefined) {
    const { executable, tunnelToken } = edge;
    const connected = { topology, users, runtime, executable, token: tunnelToken };
    new Connector("connector", { ...connected, after: [api] });
  }
  const description = runtime.ports.apply((ports) =>
    describeStack({
      paths,
      configuration,
      topology,
      users,
      security,
      serverVersion: version,
      binaries,
      ports,
      edge:
        edge === undefined
          ? null
          : {
              url: edge.url,
              executable: edge.executable,
              metrics: { host: listenAddress, port: portOf(ports, portNames.connector) },
            },
    }),
  );
  new File(
    "descriptor",
    {
      path: paths.descriptor,
      content: description.apply((descriptor) => `${JSON.stringify(descriptor, null, 2)}\n`),
      mode: "0644",
      owner: userInfo().username,
      keep: topology.keep("descriptor.json"),
    },
    { dependsOn: runtime.base },
  );
  return edge;
}
