import { access, constants } from "node:fs/promises";
import { programStates } from "#runtime";
import type { Descriptor } from "#stack";
import { CtmError, systemErrorCode } from "#system";

export interface ServiceFacts {
  name: string;
  /** supervisord's word, such as RUNNING, FATAL, STOPPED; null when it does not know the name. */
  state: string | null;
}

/**
 * The state of every service, as the stack's supervisord has it.
 *
 * @throws CtmError `no-permission`, `supervisor-unreachable`
 */
export async function readServices(descriptor: Descriptor): Promise<ServiceFacts[]> {
  const { socket } = descriptor.supervisor;
  try {
    await access(socket, constants.W_OK);
  } catch (error) {
    if (systemErrorCode(error) === "EACCES") {
      throw new CtmError("no-permission", `${socket} cannot be used by this user`, {
        next: "run as the user that ran up (often root)",
      });
    }
  }
  const states = await programStates(descriptor.supervisor);
  if (states === undefined) {
    throw new CtmError("supervisor-unreachable", "supervisord does not answer", {
      next: "ctm start",
    });
  }
  return descriptor.services.map(({ name }) => ({ name, state: states.get(name) ?? null }));
}
