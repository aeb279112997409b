import { RunnerError } from "../errors.ts";
import { runCommand } from "./run-command.ts";

/** Loaded only when it is wanted: whoever runs tests does not wait for it. */
async function rls(args: readonly string[]): Promise<number> {
  const { rlsCommand } = await import("./rls-command.ts");
  return rlsCommand(args);
}

/** The command line. Sets the exit code; throws only what is a defect of ours. */
export async function main(args: readonly string[]): Promise<void> {
  // A reader that has gone (`| head`) may be noticed with the very last line: no reason to crash.
  process.stdout.on("error", () => undefined);
  try {
    process.exitCode = args[0] === "rls" ? await rls(args.slice(1)) : await runCommand(args);
  } catch (error) {
    if (!(error instanceof RunnerError)) throw error;
    process.stderr.write(`${error.text}\n`);
    process.exitCode = error.exitCode;
  }
}
