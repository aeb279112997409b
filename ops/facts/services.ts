import { programStates } from "#runtime";
import type { Descriptor } from "#stack";
import { CtmError } from "#system";

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
export async function readServices(descriptor: Descriptor): Promise<ServiceFacts[]> {
  const states = await programStates(descriptor.supervisor);
  if (states === undefined) {
    throw new CtmError("supervisor-unreachable", "supervisord does not answer", {
      next: "ctm start",
    });
  }
  return descriptor.services.map(({ name }) => ({ name, state: states.get(name) ?? null }));
}
