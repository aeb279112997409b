import { join } from "node:path";
import { cpus, totalmem } from "node:os";
import { farFiles, type FarFiles, type Keep, type StackPaths } from "#stack";
import { bytesOf, type Configuration } from "./config.ts";
import { deriveSettings, withParameters, type DerivedSettings } from "./postgres/settings.ts";
import type { PortRequest } from "./runtime/local/ports.ts";
import type { RuntimeDirectory } from "./runtime/local/supervisor.ts";
import type { SystemUsers } from "./runtime/local/local-runtime.ts";

/** Everything of this host listens here; what lies further is reached through the tunnel. */
export const listenAddress = "127.0.0.1";

/** Where something of this host answers over HTTP. */
export function addressOf(port: number): string {
  return `http://${listenAddress}:${port}`;
}

/** pgBackRest's stanza and the name of the near repository. */
export const stanzaName = "main";

/** Paths of one member. */
export interface MemberPaths {
  name: string;
  home: string;
  dataDirectory: string;
  socketDirectory: string;
  /** Folder that Patroni reads: bootstrap.yml once, patroni.yml always. */
  patroniFolder: string;
  backrestConfiguration: string;
  spool: string;
  /** Folder of the locks that its archive commands take. */
  archiveLock: string;
}

/** What stands where: the stack's parts before anything exists of them. */
export interface Topology {
  members: MemberPaths[];
  etcd: { name: string; dataDirectory: string; configuration: string };
  proxy: { configuration: string; statisticsSocket: string };
  repository: string;
  /** Of the copy in another region; they exist where `ctm:farRepository` is set. */
  far: FarFiles;
  backrestLock: string;
  backrestLog: string;
  api: { bundle: string; configuration: string; folder: string };
  /** Of cloudflared, which runs where Cloudflare is on. */
  connector: { folder: string; configuration: string; token: string };
  settings: DerivedSettings;
  cores: number;
  ports: Record<string, PortRequest>;
  runtimeDirectories: RuntimeDirectory[];
  keep(name: string): Keep;
}

export function topologyOf(
  configuration: Configuration,
  paths: StackPaths,
  users: SystemUsers,
): Topology {
  const members = configuration.members.map(({ name }) => memberPaths(paths, name));
  const cores = configuration.cores ?? cpus().length;
  const memoryBytes =
    configuration.memory === undefined ? totalmem() / 2 : bytesOf(configuration.memory);
  return {
    members,
    etcd: {
      name: "etcd",
      dataDirectory: join(paths.state, "etcd", "data"),
      configuration: join(paths.state, "etcd", "etcd.conf"),
    },
    proxy: {
      configuration: join(paths.state, "proxy", "haproxy.cfg"),
      statisticsSocket: join(paths.run, "proxy", "haproxy.sock"),
    },
    repository: paths.repository,
    far: farFiles(paths),
    backrestLock: join(paths.run, "pgbackrest"),
    backrestLog: join(paths.log, "pgbackrest"),
    api: {
      folder: join(paths.state, "api"),
      bundle: join(paths.state, "api", "main.mjs"),
      configuration: join(paths.state, "api", "api.json"),
    },
    connector: {
      folder: join(paths.state, "cloudflared"),
      configuration: join(paths.state, "cloudflared", "config.yml"),
      token: join(paths.state, "cloudflared", "token"),
    },
    settings: withParameters(
      deriveSettings({ memoryBytes, cores, members: members.length }),
      configuration.parameters,
    ),
    cores,
    ports: portRequests(configuration),
    runtimeDirectories: [
      { path: join(paths.run, "members"), owner: users.postgres, mode: "0700" },
      ...members.map(({ socketDirectory }) => ({
        path: socketDirectory,
        owner: users.postgres,
        mode: "0700",
      })),
      { path: join(paths.run, "pgbackrest"), owner: users.postgres, mode: "0700" },
      ...members.map(({ archiveLock }) => ({
        path: archiveLock,
        owner: users.postgres,
        mode: "0700",
      })),
      { path: join(paths.run, "proxy"), owner: users.service, mode: "0700" },
    ],
    keep: (name) => ({ stateDirectory: paths.state, kept: paths.kept, stack: paths.stack, name }),
  };
}

function memberPaths(paths: StackPaths, name: string): MemberPaths {
  const home = join(paths.state, "members", name);
  return {
    name,
    home,
    dataDirectory: join(home, "data"),
    socketDirectory: join(paths.run, "members", name),
    patroniFolder: join(home, "patroni"),
    backrestConfiguration: join(home, "pgbackrest.conf"),
    spool: join(home, "spool"),
    archiveLock: join(paths.run, "pgbackrest", name),
  };
}

/** The ports that a stack needs, by the names under which they are remembered. */
export function portRequests(configuration: Configuration): Record<string, PortRequest> {
  const demandable = (
    key: "readWritePort" | "readOnlyPort" | "apiPort" | "adminPort",
    preferred: number,
  ): PortRequest => {
    const demanded = configuration[key];
    return demanded === undefined
      ? { preferred, demandedBy: null }
      : { preferred: demanded, demandedBy: `ctm:${key}` };
  };
  const any = (preferred: number): PortRequest => ({ preferred, demandedBy: null });
  return {
    readWrite: demandable("readWritePort", 5432),
    readOnly: demandable("readOnlyPort", 5433),
    api: demandable("apiPort", 8480),
    admin: demandable("adminPort", 8481),
    etcdClient: any(2379),
    etcdPeer: any(2380),
    ...(hasTunnel(configuration) ? { [portNames.connector]: any(20241) } : {}),
    ...Object.fromEntries(
      configuration.members.flatMap(({ name }, index) => [
        [portNames.postgres(name), any(5442 + index)],
        [portNames.rest(name), any(8008 + index)],
      ]),
    ),
  };
}

/** Whether cloudflared runs beside this stack's API. */
export function hasTunnel({ cloudflare, cloudflareStack }: Configuration): boolean {
  return cloudflareStack !== undefined || (cloudflare !== undefined && !cloudflare.standalone);
}

/** Names under which ports are remembered that not every stack has. */
export const portNames = {
  /** cloudflared's metrics. */
  connector: "cloudflared",
  postgres: (member: string): string => `${member}-postgres`,
  rest: (member: string): string => `${member}-rest`,
};

/** A port that must be there, since it was asked for. */
export function portOf(ports: Readonly<Record<string, number>>, name: string): number {
  const port = ports[name];
  if (port === undefined) throw new Error(`no port was chosen for ${name}`);
  return port;
}
