import { z } from "zod";
import { startStack } from "#runtime";
import { defineCommand } from "../command.ts";
import { checkMayControl } from "../check-may-control.ts";
import { readServices } from "../facts/services.ts";
import { openStack } from "../open-stack.ts";
import { refuseHalfDoneRestore } from "../recovery/restore-state.ts";

export const command = defineCommand({
  help: "Starts the stack's processes, without Pulumi, and waits until the cluster has a leader and the API answers. What runs already is left alone.",
  examples: [{ run: "ctm start", does: "after a reboot, or after ctm stop" }],
  arguments: {},
  flags: {},
  document: z.strictObject({
    stack: z.string(),
    /** Names of the services that did not run before. */
    started: z.array(z.string()),
    services: z.array(z.strictObject({ name: z.string(), state: z.string().nullable() })),
  }),
  async run(_, context) {
    const { descriptor, paths } = await openStack(context);
    await checkMayControl(descriptor);
    await refuseHalfDoneRestore(paths);
    // A supervisord that does not answer has nothing running.
    const before = await readServices(descriptor).catch(() => []);
    await startStack(descriptor, { report: (line) => context.progress.step(line) });
    const ran = new Set(before.filter(({ state }) => state === "RUNNING").map(({ name }) => name));
    const services = await readServices(descriptor);
    return {
      stack: descriptor.stack,
      started: services.map(({ name }) => name).filter((name) => !ran.has(name)),
      services,
    };
  },
  render: ({ stack, started, services }) =>
    [
      started.length === 0
        ? `${stack} runs already: ${services.map(({ name }) => name).join(", ")}`
        : `${stack} runs; started: ${started.join(", ")}`,
      "",
      "next: ctm status",
    ].join("\n"),
});
