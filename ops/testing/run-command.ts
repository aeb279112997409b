import { PassThrough } from "node:stream";
import type { Entry } from "../commands.ts";
import { dispatch } from "../dispatch.ts";
import { Interrupts } from "../interrupts.ts";

/** Runs a command line in this process, without a terminal; answers what it printed. */
export async function runCommand(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  entries: readonly Entry[],
): Promise<{ code: number; out: string; err: string }> {
  // Read as it comes: an answer may be longer than what a stream that nobody reads takes in.
  const output = new PassThrough();
  const error = new PassThrough();
  let out = "";
  let err = "";
  output.setEncoding("utf8").on("data", (text: string) => (out += text));
  error.setEncoding("utf8").on("data", (text: string) => (err += text));
  const around = {
    input: new PassThrough(),
    output,
    error,
    env: { ...env, NO_COLOR: "1" },
    interrupts: new Interrupts(),
  };
  const code = await dispatch(argv, around, entries);
  return { code, out, err };
}
