import { z } from "zod";
import { waitFor } from "#system";
import { clusterOf, memberOf, type PatroniEndpoint } from "../../postgres/patroni.ts";
import { defineResourceType } from "../resource-type.ts";

export const endpointSchema = z.strictObject({
  host: z.string(),
  port: z.int(),
  authority: z.string(),
});

const inputs = z.strictObject({
  /** Patroni's scope. */
  name: z.string(),
  /** Patroni's REST API of each member, by the member's name. */
  endpoints: z.record(z.string(), endpointSchema),
  /** What each member shall be: `running`. */
  members: z.record(z.string(), z.string()),
});
export type ClusterInputs = z.infer<typeof inputs>;
export interface ClusterOutputs extends ClusterInputs {
  systemIdentifier: string;
  /** Such as 150018. */
  serverVersion: number;
}

/** Bootstrapping and cloning a standby: pg_basebackup of a large database takes its time. */
const healthyTimeoutMs = 10 * 60_000;

/** The cluster as a whole: one leader, and every standby streaming from it. */
export const cluster = defineResourceType<ClusterInputs, ClusterOutputs>({
  token: "ctm:postgres:Cluster",
  inputs,
  secrets: [],
  replacedBy: ["name"],
  ignoredInDiff: ["endpoints"],
  async create(wanted, { report }) {
    return { id: wanted.name, outputs: await waitUntilHealthy(wanted, report) };
  },
  async read(_id, state) {
    const endpoints = Object.values(state.endpoints);
    const view = await clusterOf(endpoints);
    const found: Record<string, string> = {};
    for (const { name, state: memberState } of view.members) {
      if (name in state.members) found[name] = conditionOf(memberState);
    }
    return { ...state, members: found, ...(await identityOfCluster(endpoints)) };
  },
  async update(_id, _state, wanted, { report }) {
    return await waitUntilHealthy(wanted, report);
  },
  async delete() {
    // Members are services and folders of their own.
  },
});

async function waitUntilHealthy(
  wanted: ClusterInputs,
  report: (line: string) => void,
): Promise<ClusterOutputs> {
  const endpoints = Object.values(wanted.endpoints);
  let shown = "";
  await waitFor(
    `one leader and ${Object.keys(wanted.members).length - 1} streaming standbys`,
    healthyTimeoutMs,
    async () => {
      const { members } = await clusterOf(endpoints);
      const states = members.map(({ name, role, state }) => `${name} ${role} ${state}`).join(", ");
      if (states !== shown) report((shown = states));
      const leaders = members.filter(({ role }) => role === "leader");
      const healthy = Object.keys(wanted.members).every((name) =>
        members.some((member) => member.name === name && conditionOf(member.state) === "running"),
      );
      if (leaders.length === 1 && healthy) return true;
      throw new Error(states === "" ? "no members yet" : states);
    },
    { intervalMs: 500, next: "ctm logs, and ctm status" },
  );
  return { ...wanted, ...(await identityOfCluster(endpoints)) };
}

function conditionOf(state: string): string {
  return state === "streaming" ? "running" : state;
}

async function identityOfCluster(
  endpoints: readonly PatroniEndpoint[],
): Promise<{ systemIdentifier: string; serverVersion: number }> {
  for (const endpoint of endpoints) {
    const member = await memberOf(endpoint).catch(() => undefined);
    if (member?.database_system_identifier !== undefined && member.server_version !== undefined) {
      return {
        systemIdentifier: member.database_system_identifier,
        serverVersion: member.server_version,
      };
    }
  }
  return { systemIdentifier: "", serverVersion: 0 };
}
