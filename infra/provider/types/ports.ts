import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { makeDirectory, writeFileAtomic } from "#system";
import {
  choosePorts,
  foreseePorts,
  portsFile,
  portsOfOtherStacks,
  readPorts,
} from "../../runtime/local/ports.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  /** The stack's state folder. */
  directory: z.string().startsWith("/"),
  /** By the port's name. */
  requests: z.record(
    z.string(),
    z.strictObject({
      preferred: z.int().min(1).max(65535),
      demandedBy: z.string().nullable(),
    }),
  ),
});
export type PortsInputs = z.infer<typeof inputs>;
export interface PortsOutputs extends PortsInputs {
  ports: Record<string, number>;
}

/** The stack's ports: chosen once among the free ones, then remembered in its state folder. */
export const ports = defineResourceType<PortsInputs, PortsOutputs>({
  token: "ctm:host:Ports",
  inputs,
  secrets: [],
  replacedBy: ["directory"],
  async create(wanted) {
    return { id: "ports", outputs: await choose(wanted) };
  },
  async read(_id, state) {
    const found = await readPorts(join(state.directory, portsFile));
    const requests = Object.entries(state.requests).filter(
      ([name]) => found[name] !== undefined && found[name] === state.ports[name],
    );
    return { directory: state.directory, requests: Object.fromEntries(requests), ports: found };
  },
  async update(_id, _state, wanted) {
    return await choose(wanted);
  },
  // A new service's files name its port already in the preview.
  async foresee(_state, wanted) {
    return { ...wanted, ports: await foreseePorts(...(await choiceOf(wanted))) };
  },
  async delete(_id, state) {
    await rm(join(state.directory, portsFile), { force: true });
  },
});

async function choose(wanted: PortsInputs): Promise<PortsOutputs> {
  const chosen = await choosePorts(...(await choiceOf(wanted)));
  await makeDirectory(wanted.directory, { mode: 0o755 });
  await writeFileAtomic(join(wanted.directory, portsFile), `${JSON.stringify(chosen, null, 2)}\n`, {
    mode: 0o644,
  });
  return { ...wanted, ports: chosen };
}

async function choiceOf({
  directory,
  requests,
}: PortsInputs): Promise<Parameters<typeof choosePorts>> {
  const others = await portsOfOtherStacks(dirname(directory), directory);
  return [requests, await readPorts(join(directory, portsFile)), others];
}
