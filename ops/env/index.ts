import { z } from "zod";
import { stackPaths } from "#stack";
import { checkHome, openWorkspace, selectStack } from "../../infra/automation/index.ts";
import { defineCommand } from "../command.ts";

export const command = defineCommand({
  help: 'Prints what a shell needs for plain pulumi on this stack: eval "$(npx ctm env)", then pulumi preview, up, refresh or destroy in this checkout. Paths and habits only, never a secret.',
  examples: [
    { run: 'eval "$(npx ctm env)"', does: "then: pulumi preview --refresh" },
    { run: "ctm env --json", does: "for a script" },
  ],
  arguments: {},
  flags: {},
  document: z.record(z.string(), z.string()),
  async run(_, context) {
    const paths = stackPaths(context.stack, context.env);
    await checkHome(paths);
    const workspace = await openWorkspace(
      context.stack,
      (line) => {
        context.progress.clear();
        process.stderr.write(`${line}\n`);
      },
      context.env,
    );
    await selectStack(workspace);
    return { ...workspace.variables, CTM_STACK: context.stack };
  },
  render: (variables) =>
    Object.entries(variables)
      .map(([name, value]) => `export ${name}=${quoted(value)}`)
      .join("\n"),
});

/** For any POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
