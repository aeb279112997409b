import { parseArgs } from "node:util";
import { CtmError, messageOf } from "#system";
import { checkFiles, readConfiguration } from "./config.ts";
import { start, type RunningApi } from "./start.ts";
import { apiVersion } from "./version.ts";

// The service's process: `node main.mjs --config FILE`. Exit codes: 0 stopped as asked,
// 1 failed, 2 wrong usage or configuration.

async function main(): Promise<void> {
  const { config, version } = readArguments();
  if (version === true) {
    process.stdout.write(`${apiVersion}\n`);
    return;
  }
  if (config === undefined) throw wrongUsage("--config is missing");
  const settings = await readConfiguration(config);
  await checkFiles(settings);
  const api = await start(settings).catch(refuseTakenPort);
  let stopping = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      void api.stop().then(
        () => process.exit(0),
        (error: unknown) => fail(error),
      );
    });
  }
}

function readArguments(): { config?: string | undefined; version?: boolean | undefined } {
  try {
    return parseArgs({
      options: { config: { type: "string" }, version: { type: "boolean" } },
    }).values;
  } catch (error) {
    throw wrongUsage(messageOf(error));
  }
}

function wrongUsage(what: string): CtmError {
  return new CtmError("wrong-usage", what, { next: "main.mjs --config FILE", exitCode: 2 });
}

function refuseTakenPort(error: unknown): Promise<RunningApi> {
  if (error instanceof Error && "syscall" in error && error.syscall === "listen") {
    throw new CtmError("cannot-listen", error.message, {
      next: "free the port, or change listen and admin in the configuration",
      cause: error,
    });
  }
  throw error;
}

function fail(error: unknown): void {
  process.stderr.write(
    `${error instanceof CtmError ? error.text : error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  process.exit(error instanceof CtmError ? error.exitCode : 1);
}

main().catch(fail);
