import { openWorkspace } from "./environment.ts";
const w = await openWorkspace(process.argv[2] ?? "local", console.error);
for (const [k, v] of Object.entries(w.variables)) console.log(`export ${k}='${v}'`);
