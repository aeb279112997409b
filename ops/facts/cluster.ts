import { z } from "zod";
import type { Descriptor, MemberDescriptor } from "#stack";
import { messageOf } from "#system";
import { httpGet } from "./https-get.ts";

/** A member as Patroni and PostgreSQL know it now; null where nobody could tell. */
export interface MemberFacts {
  name: string;
  /** Patroni's words. */
  role: "leader" | "standby_leader" | "sync_standby" | "replica" | null;
  /** `streaming` for a replica that receives from the leader, else PostgreSQL's state by Patroni. */
  state: string | null;
  timeline: number | null;
  /** Bytes of WAL that the leader has and this replica has not replayed; null for the leader. */
  lagBytes: number | null;
  /** Why Patroni's REST API of this member did not tell. */
  unreachable: string | null;
}

export interface ClusterFacts {
  /** Name of the leader that etcd has, as the members see it. */
  leader: string | null;
  /** Automatic failover is off. */
  paused: boolean | null;
  /** PostgreSQL's version, such as "15.18". */
  version: string | null;
  members: MemberFacts[];
}

/** GET /patroni: what one member says of itself (patroni 3.0.2, api.py, get_postgresql_status). */
const memberAnswer = z.object({
  state: z.string(),
  role: z.string(),
  timeline: z.number().nullish(),
  server_version: z.number().optional(),
  xlog: z
    .object({
      location: z.number().nullish(),
      replayed_location: z.number().nullish(),
    })
    .optional(),
  replication: z.array(z.object({ application_name: z.string(), state: z.string() })).optional(),
});

/** GET /cluster: what etcd has of all members (patroni 3.0.2, utils.py, cluster_as_json). */
const clusterAnswer = z.object({
  members: z.array(z.object({ name: z.string(), role: z.string() })),
  pause: z.boolean().optional(),
});

/**
 * Asks every member of the cluster at once.
 *
 * @param authority PEM of the stack's CA
 */
export async function readCluster(
  descriptor: Descriptor,
  authority: string,
  options: { timeoutMs: number; signal?: AbortSignal },
): Promise<ClusterFacts> {
  const { members } = descriptor.postgres;
  const ask = async <T>(
    member: MemberDescriptor,
    path: string,
    shape: z.ZodType<T>,
  ): Promise<T> => {
    const url = new URL(`https://${urlHost(member.rest.host)}:${member.rest.port}${path}`);
    const { text } = await httpGet(url, { ...options, authority });
    return shape.parse(JSON.parse(text));
  };
  const [own, shared] = await Promise.all([
    Promise.allSettled(members.map((member) => ask(member, "/patroni", memberAnswer))),
    // Any member's view of etcd will do: the first that answers.
    Promise.any(members.map((member) => ask(member, "/cluster", clusterAnswer))).catch(
      () => undefined,
    ),
  ]);
  const answers = own.map((each) => (each.status === "fulfilled" ? each.value : undefined));
  const roles = new Map(shared?.members.map(({ name, role }) => [name, role]));
  const leader =
    members.find(({ name }) => isLeader(roles.get(name)))?.name ??
    shared?.members.find(({ role }) => isLeader(role))?.name ??
    null;
  const leaderAnswer = answers[members.findIndex(({ name }) => name === leader)];
  const version = answers.find((answer) => answer?.server_version !== undefined)?.server_version;
  return {
    leader,
    paused: shared === undefined ? null : (shared.pause ?? false),
    version: version === undefined ? null : `${Math.floor(version / 10_000)}.${version % 10_000}`,
    members: members.map(({ name }, index) => {
      const answer = answers[index];
      const failure = own[index];
      const role = readRole(roles.get(name));
      const streams = leaderAnswer?.replication?.find((each) => each.application_name === name);
      const running = answer?.state === "running";
      return {
        name,
        role,
        state: running && name !== leader ? (streams?.state ?? "running") : (answer?.state ?? null),
        timeline: answer?.timeline ?? null,
        lagBytes:
          name === leader
            ? null
            : lagBytes(leaderAnswer?.xlog?.location, answer?.xlog?.replayed_location),
        unreachable: failure?.status === "rejected" ? reason(failure.reason) : null,
      };
    }),
  };
}

/** An IPv6 address stands in brackets in a URL. */
function urlHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

function isLeader(role: string | undefined): boolean {
  return role === "leader" || role === "standby_leader";
}

function readRole(role: string | undefined): MemberFacts["role"] {
  return role === "leader" ||
    role === "standby_leader" ||
    role === "sync_standby" ||
    role === "replica"
    ? role
    : null;
}

/** The two positions are not read at one moment: a replica may seem to be ahead. */
function lagBytes(leader: number | null | undefined, replica: number | null | undefined) {
  if (leader === null || leader === undefined) return null;
  if (replica === null || replica === undefined) return null;
  return Math.max(0, leader - replica);
}

function reason(error: unknown): string {
  if (error instanceof z.ZodError || error instanceof SyntaxError)
    return "the answer is not Patroni's";
  return messageOf(error);
}
