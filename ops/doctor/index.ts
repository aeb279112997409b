import { z } from "zod";
import { defineCommand } from "../command.ts";
import { openStack } from "../open-stack.ts";
import { countText } from "../text.ts";
import { findings } from "./checks.ts";

export const command = defineCommand({
  help: "Looks at everything that has been seen to go wrong: programs, credentials, certificates, disks, owners of files, every service, logins, encrypted settings, the schema. Says what to do about each. Exits 3 when something is wrong. Changes nothing.",
  examples: [{ run: "ctm doctor", does: "what is wrong, and what to do" }],
  arguments: {},
  flags: {},
  document: z.strictObject({
    stack: z.string(),
    ok: z.boolean(),
    findings: z.array(
      z.strictObject({
        check: z.string(),
        ok: z.boolean(),
        message: z.string(),
        next: z.string().nullable(),
      }),
    ),
  }),
  async run(_, context) {
    const stack = await openStack(context);
    context.progress.step("looking at every part");
    const found = await findings(stack, context);
    return { stack: context.stack, ok: found.every(({ ok }) => ok), findings: found };
  },
  render({ stack, findings: found }, paint) {
    const wrong = found.filter(({ ok }) => !ok);
    const width = Math.max(...found.map(({ check }) => check.length));
    const lines = found.flatMap(({ check, ok, message, next }) => [
      `${ok ? paint.good("ok ") : paint.bad("bad")}  ${check.padEnd(width)}  ${message}`,
      ...(next === null ? [] : [`${" ".repeat(width + 7)}next: ${next}`]),
    ]);
    const verdict =
      wrong.length === 0
        ? `${stack}: nothing is wrong`
        : `${stack}: ${countText(wrong.length, "thing is", "things are")} wrong`;
    return [paint.bold(verdict), "", ...lines, "", `next: ${wrong[0]?.next ?? "ctm status"}`].join(
      "\n",
    );
  },
  exitCode: ({ ok }) => (ok ? 0 : 3),
});
