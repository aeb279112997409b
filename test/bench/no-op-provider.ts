// A provider whose only resource is nothing: what Pulumi itself costs, for `npm run bench -- up`.
import { z } from "zod";
import { defineResourceType } from "../../infra/provider/resource-type.ts";
import { serve } from "../../infra/provider/server.ts";

const inputs = z.strictObject({ text: z.string() });
type Inputs = z.infer<typeof inputs>;

const noOp = defineResourceType<Inputs, Inputs>({
  token: "noop:index:NoOp",
  inputs,
  secrets: [],
  replacedBy: [],
  create: async (wanted) => ({ id: "nothing", outputs: wanted }),
  read: async (_id, state) => state,
  update: async (_id, _state, wanted) => wanted,
  delete: async () => undefined,
});

// As infra/provider/main.ts: the engine's address comes in, ours goes out, and we end with it.
const engineAddress = process.argv.slice(2).find((argument) => /^[^-].*:\d+$/.test(argument));
process.stdin.on("end", () => process.exit()).resume();
const served = { name: "noop", version: "1.0.0", types: [noOp], deleteBeforeReplace: true };
console.log(String(await serve(served, engineAddress)));
