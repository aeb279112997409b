import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describeApi } from "./src/describe-api.ts";

// Writes openapi.json anew: node api/write-openapi.ts && npx oxfmt api/openapi.json

const path = fileURLToPath(new URL("openapi.json", import.meta.url));
await writeFile(path, `${JSON.stringify(await describeApi(), null, 2)}\n`);
process.stdout.write(`${path}\n`);
