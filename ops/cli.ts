// The command line's entry: bin/ctm starts it. Only this file exits the process.
import { dispatch } from "./dispatch.ts";
import { Interrupts } from "./interrupts.ts";

const interrupts = new Interrupts();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    if (!interrupts.receive(name)) process.exit(130);
  });
}
// A reader that went away (`ctm … | head`) shows where we write; unheard it would be an exception.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

process.exit(
  await dispatch(process.argv.slice(2), {
    input: process.stdin,
    output: process.stdout,
    error: process.stderr,
    env: process.env,
    interrupts,
  }),
);
