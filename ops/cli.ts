// The command line's entry: bin/ctm starts it. Only this file exits the process.
import { dispatch } from "./dispatch.ts";

const controller = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  // The second signal finds the default again and ends us at once.
  process.once(signal, () => controller.abort(signal));
}
// A reader that went away is noticed where we write; without a listener it would be an exception.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

process.exit(
  await dispatch(process.argv.slice(2), {
    input: process.stdin,
    output: process.stdout,
    error: process.stderr,
    env: process.env,
    signal: controller.signal,
  }),
);
