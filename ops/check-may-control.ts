import { stat } from "node:fs/promises";
import type { Descriptor } from "#stack";
import { CtmError, isRoot } from "#system";

/** @throws CtmError `no-permission` (exit 2) unless this user started the stack, or is root */
export async function checkMayControl({ supervisor, stack }: Descriptor): Promise<void> {
  const { uid } = await stat(supervisor.stackDirectory);
  if (isRoot() || process.getuid?.() === uid) return;
  throw new CtmError(
    "no-permission",
    `the processes of stack "${stack}" belong to the user with uid ${uid}`,
    { next: "run it as that user, or as root", exitCode: 2 },
  );
}
