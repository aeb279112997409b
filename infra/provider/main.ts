import { providerVersion } from "./resources.ts";
import { serve } from "./server.ts";
import { resourceTypes } from "./types/index.ts";

// The engine passes its own address and reads ours from the first line of output.
const engineAddress = process.argv.slice(2).find((argument) => /^[^-].*:\d+$/.test(argument));
// The engine holds our standard input: when it is killed, nothing of us must live on.
process.stdin.on("end", () => process.exit()).resume();
const served = {
  name: "ctm",
  version: providerVersion,
  types: resourceTypes,
  // Two of them would fight for one port, file or name.
  deleteBeforeReplace: true,
};
console.log(String(await serve(served, engineAddress)));
