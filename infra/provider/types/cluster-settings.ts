import { z } from "zod";
import { CtmError, readFileIfExists, waitFor } from "#system";
import {
  clusterOf,
  dynamicConfiguration,
  replaceDynamicConfiguration,
  restartMember,
} from "../../postgres/patroni.ts";
import { defineResourceType } from "../resource-type.ts";
import { endpointSchema } from "./cluster.ts";

const inputs = z.strictObject({
  endpoints: z.record(z.string(), endpointSchema),
  /** File with `user:password` of Patroni's REST API. */
  credentialsPath: z.string().startsWith("/"),
  /** Patroni's whole dynamic configuration. */
  configuration: z.record(z.string(), z.unknown()),
  /** Members that still run with settings from before their last restart: none. */
  awaitingRestart: z.array(z.string()),
});
export type ClusterSettingsInputs = z.infer<typeof inputs>;

/** Patroni's dynamic configuration, the settings that all members share. */
export const clusterSettings = defineResourceType<ClusterSettingsInputs, ClusterSettingsInputs>({
  token: "ctm:postgres:ClusterSettings",
  inputs,
  secrets: [],
  replacedBy: [],
  ignoredInDiff: ["endpoints", "credentialsPath"],
  async create(wanted, { report }) {
    await apply(wanted, report);
    return { id: "settings", outputs: wanted };
  },
  async read(_id, state) {
    const found = await dynamicConfiguration(Object.values(state.endpoints));
    // `pause` is set by people for maintenance; undoing it behind their back would hurt.
    delete found["pause"];
    const { members } = await clusterOf(Object.values(state.endpoints));
    const awaiting = members.filter((member) => member.pending_restart === true);
    return {
      ...state,
      configuration: found,
      awaitingRestart: awaiting.map(({ name }) => name).toSorted(),
    };
  },
  async update(_id, _state, wanted, { report }) {
    await apply(wanted, report);
    return wanted;
  },
  async delete() {
    // Gone with the cluster.
  },
});

async function apply(wanted: ClusterSettingsInputs, report: (line: string) => void): Promise<void> {
  const endpoints = Object.values(wanted.endpoints);
  const credentials = (await readFileIfExists(wanted.credentialsPath))?.trim();
  if (credentials === undefined) {
    throw new CtmError("credential-missing", `${wanted.credentialsPath} does not exist`, {
      next: "npm run up writes it anew",
    });
  }
  const found = await dynamicConfiguration(endpoints);
  const pause = found["pause"];
  if (
    JSON.stringify(sorted({ ...found, pause: undefined })) !==
    JSON.stringify(sorted(wanted.configuration))
  ) {
    await replaceDynamicConfiguration(endpoints, credentials, {
      ...wanted.configuration,
      ...(pause === undefined ? {} : { pause }),
    });
  }
  await restartWherePending(wanted, credentials, report);
}

/** Standbys first, so that writers meet one short interruption only. */
async function restartWherePending(
  wanted: ClusterSettingsInputs,
  credentials: string,
  report: (line: string) => void,
): Promise<void> {
  const endpoints = Object.values(wanted.endpoints);
  const { members } = await clusterOf(endpoints);
  const standbysFirst = members.toSorted(
    (one, other) => Number(one.role === "leader") - Number(other.role === "leader"),
  );
  for (const { name, pending_restart: pending } of standbysFirst) {
    const endpoint = wanted.endpoints[name];
    if (pending !== true || endpoint === undefined) continue;
    report(`restarting PostgreSQL of ${name}: a changed setting asks for it`);
    await restartMember(endpoint, credentials);
    await waitFor(`${name} to run again`, 120_000, async () => {
      const member = (await clusterOf(endpoints)).members.find((one) => one.name === name);
      return member !== undefined && ["running", "streaming"].includes(member.state)
        ? true
        : undefined;
    });
  }
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}
