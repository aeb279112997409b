import { z } from "zod";
import { stopStack } from "#runtime";
import { defineCommand } from "../command.ts";
import { checkMayControl } from "../check-may-control.ts";
import { openStack } from "../open-stack.ts";

export const command = defineCommand({
  help: "Stops the stack's processes, without Pulumi: PostgreSQL writes a last checkpoint and nothing is lost. Returns when no process is left. A stack that does not run stays so.",
  examples: [{ run: "ctm stop", does: "until ctm start" }],
  arguments: {},
  flags: {},
  document: z.strictObject({ stack: z.string(), stopped: z.literal(true) }),
  async run(_, context) {
    const { descriptor } = await openStack(context);
    await checkMayControl(descriptor);
    await stopStack(descriptor, { report: (line) => context.progress.step(line) });
    return { stack: descriptor.stack, stopped: true as const };
  },
  render: ({ stack }) => `${stack} is stopped: none of its processes is left\n\nnext: ctm start`,
});
