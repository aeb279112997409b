import { CtmError } from "#system";
import { showPulumi, type Workspace } from "../../infra/automation/index.ts";
import type { Context } from "../command.ts";

/** The engine kit tells of minutes of work: plain lines, above whatever else is shown. */
export function told(context: Context): (line: string) => void {
  return (line) => {
    context.progress.clear();
    process.stderr.write(`${line}\n`);
  };
}

/**
 * Lets Pulumi change what differs, where a person sees it work.
 *
 * @param extra further arguments, such as targets
 * @throws CtmError `up-failed`
 */
export async function applyProgram(
  workspace: Workspace,
  context: Context,
  extra: readonly string[] = [],
): Promise<void> {
  context.progress.clear();
  const code = await showPulumi(
    workspace,
    ["up", "--yes", "--skip-preview", "--refresh", "--suppress-outputs", ...extra],
    context.signal,
  );
  if (code === 0) return;
  throw new CtmError("up-failed", "Pulumi did not finish; what it said stands above", {
    next: "mend the cause, then npm run up again: it goes on where this run stopped",
  });
}
