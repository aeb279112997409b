import { providerVersion } from "./resources.ts";
import { serve } from "./server.ts";
import { resourceTypes } from "./types/index.ts";

// The engine passes its own address and reads ours from the first line of output.
const engineAddress = process.argv.slice(2).find((argument) => /^[^-].*:\d+$/.test(argument));
// The engine holds our standard input: when it is killed, nothing of us must live on.
process.stdin.on("end", () => process.exit()).resume();
console.log(String(await serve(resourceTypes, providerVersion, engineAddress)));
