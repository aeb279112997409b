import { randomInt } from "node:crypto";
import { choosePorts } from "../local/ports.ts";

/**
 * A port for a server that a test starts later. Not one of those that the kernel gives to whoever
 * asks for any, from 32768 on: it would give it to somebody else in the meantime.
 */
export async function freePort(): Promise<number> {
  const { port } = await choosePorts(
    { port: { preferred: randomInt(10_000, 30_000), demandedBy: null } },
    {},
    new Map(),
  );
  if (port === undefined) throw new Error("no port was chosen");
  return port;
}
