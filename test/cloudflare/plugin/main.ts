import { serve } from "../../../infra/provider/server.ts";
import { cloudflarePackage } from "./package.ts";

const engineAddress = process.argv.slice(2).find((argument) => /^[^-].*:\d+$/.test(argument));
// The engine holds our standard input: when it is killed, nothing of us must live on.
process.stdin.on("end", () => process.exit()).resume();
console.log(String(await serve(cloudflarePackage(), engineAddress)));
