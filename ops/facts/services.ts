import type { Descriptor } from "#stack";
import { CtmError } from "#system";
import type { Context } from "../command.ts";
import { createShell } from "../shell.ts";

export interface ServiceFacts {
  name: string;
  /** supervisord's word, such as RUNNING, FATAL, STOPPED; null when it does not know the name. */
  state: string | null;
}

/**
 * The state of every service, as the stack's supervisord has it.
 *
 * @throws CtmError `supervisor-unreachable`
 */
export async function readServices(
  descriptor: Descriptor,
  context: Pick<Context, "env" | "signal">,
  timeoutMs: number,
): Promise<ServiceFacts[]> {
  const shell = createShell(context);
  const finished = await shell({
    timeout: timeoutMs,
  })`supervisorctl -c ${descriptor.supervisor.configuration} status`;
  // 3 only says that some program is not running (supervisorctl.py, LSBStatusExitStatuses).
  if (finished.exitCode !== 0 && finished.exitCode !== 3) {
    const [line] = finished.stdall
      .trim()
      .replace(/^Error: /, "")
      .split("\n");
    throw new CtmError(
      "supervisor-unreachable",
      `supervisord does not answer${line === undefined || line === "" ? "" : `: ${line}`}`,
      { next: "ctm start" },
    );
  }
  const states = new Map(
    finished.stdout.split("\n").map((line): [string, string | null] => {
      const [name, state] = line.trim().split(/\s+/);
      return [name ?? "", state ?? null];
    }),
  );
  return descriptor.services.map(({ name }) => ({ name, state: states.get(name) ?? null }));
}
