#!/usr/bin/env node
// In a clone of the repository the sources run as they are; the published package has no sources,
// since Node strips types from nothing inside node_modules.
import { existsSync } from "node:fs";
import { enableCompileCache } from "node:module";

// A quarter of the time that loading takes, from the second start on.
enableCompileCache();

const source = new URL("../src/cli/main.ts", import.meta.url);
const { main } = await import(existsSync(source) ? source.href : "../dist/cli/main.js");
await main(process.argv.slice(2));
