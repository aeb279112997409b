import { readdir } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { CtmError, parseJson, readFileIfExists, run, systemErrorCode } from "#system";

/** A port that a stack needs. */
export interface PortRequest {
  /** Tried first. */
  preferred: number;
  /** The configuration key that demands exactly this port, or null when any free one will do. */
  demandedBy: string | null;
}

/** File in a stack's state folder that remembers its ports. */
export const portsFile = "ports.json";

/** What this process reserved, by port. */
const reservations = new Map<number, Server>();

/**
 * Chooses a port for each request: the remembered one, else the preferred one, else the next that
 * is free and that no other stack of this home remembers. What is chosen stays reserved while this
 * process lives: it takes a while until something listens there, and runs in other homes choose
 * meanwhile.
 *
 * @throws CtmError `port-taken` when a demanded port is in use or belongs to another stack
 */
export async function choosePorts(
  requests: Readonly<Record<string, PortRequest>>,
  remembered: Readonly<Record<string, number>>,
  othersPorts: ReadonlyMap<number, string>,
): Promise<Record<string, number>> {
  const chosen: Record<string, number> = {};
  const used = new Set<number>();
  // In the order of what is preferred, so that a taken pair moves up as a pair.
  const ordered = Object.entries(requests).toSorted(
    ([, one], [, other]) => one.preferred - other.preferred,
  );
  for (const [name, { preferred, demandedBy }] of ordered) {
    const kept = remembered[name];
    if (kept !== undefined && (demandedBy === null || kept === preferred)) {
      // Whoever else has it meets the service that asks for it: a stack keeps its ports.
      await reserve(kept);
      chosen[name] = kept;
      used.add(kept);
    }
  }
  for (const [name, { preferred, demandedBy }] of ordered) {
    if (chosen[name] !== undefined) continue;
    const isFree = async (port: number): Promise<boolean> =>
      !used.has(port) && !othersPorts.has(port) && (await reserveFree(port));
    let port = preferred;
    if (demandedBy !== null && !(await isFree(port))) {
      const owner =
        othersPorts.get(port) ??
        (await listenerOn(port)) ??
        (used.has(port) ? "another port of this stack" : "another run on this machine");
      throw new CtmError("port-taken", `${demandedBy} asks for port ${port}, which ${owner} uses`, {
        next: `free the port, or choose another: pulumi config set ${demandedBy} PORT`,
      });
    }
    while (!(await isFree(port))) port = port < 65535 ? port + 1 : 10_000;
    chosen[name] = port;
    used.add(port);
  }
  return chosen;
}

/** What `choosePorts` would choose now, with nothing reserved. */
export async function foreseePorts(
  ...given: Parameters<typeof choosePorts>
): Promise<Record<string, number>> {
  const before = new Set(reservations.keys());
  try {
    return await choosePorts(...given);
  } finally {
    for (const port of reservations.keys()) if (!before.has(port)) release(port);
  }
}

/** Reserves a port on which nobody listens; false when there is somebody, or another run has it. */
async function reserveFree(port: number): Promise<boolean> {
  if (!(await reserve(port))) return false;
  if (await canListen(port)) return true;
  release(port);
  return false;
}

/**
 * Reserves a port among the runs of this machine, of all users and homes; false when another process
 * has it. A name in the abstract namespace of Unix sockets (unix(7)) belongs to one network
 * namespace, as a port does, and goes with its process however that ends.
 */
async function reserve(port: number): Promise<boolean> {
  if (reservations.has(port)) return true;
  const server = createServer().unref();
  return await new Promise((resolve, reject) => {
    server.once("error", (error) => {
      if (systemErrorCode(error) === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    server.listen({ path: `\0ctm-port-${port}`, exclusive: true }, () => {
      reservations.set(port, server);
      resolve(true);
    });
  });
}

function release(port: number): void {
  reservations.get(port)?.close();
  reservations.delete(port);
}

/** Ports that the other stacks of this home remember, also while they are stopped. */
export async function portsOfOtherStacks(
  home: string,
  ownDirectory: string,
): Promise<Map<number, string>> {
  const ports = new Map<number, string>();
  for (const entry of await readdir(home, { withFileTypes: true }).catch(() => [])) {
    const directory = join(home, entry.name);
    if (!entry.isDirectory() || directory === ownDirectory) continue;
    for (const port of Object.values(await readPorts(join(directory, portsFile)))) {
      ports.set(port, `the stack "${entry.name}"`);
    }
  }
  return ports;
}

/** The remembered ports, by name; none when the file is missing or says nothing. */
export async function readPorts(path: string): Promise<Record<string, number>> {
  const value = parseJson((await readFileIfExists(path)) ?? "");
  const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
  return Object.fromEntries(
    entries.filter((entry): entry is [string, number] => typeof entry[1] === "number"),
  );
}

/** True when a server could listen on this port of all addresses now. */
export async function canListen(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    // All addresses, so that a listener on any one of them counts as taken.
    server.listen({ port, host: "0.0.0.0", exclusive: true }, () =>
      server.close(() => resolve(true)),
    );
  });
}

/** True when something accepts connections there. */
export async function accepts(host: string, port: number, timeoutMs = 1000): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const settle = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => settle(true));
    socket.once("timeout", () => settle(false));
    socket.once("error", () => settle(false));
  });
}

/** "NAME (pid N)" of the process that listens on a port, as far as this user may see it. */
export async function listenerOn(port: number): Promise<string | undefined> {
  try {
    const { stdout } = await run("ss", ["-ltnpH", `sport = :${port}`]);
    if (stdout.trim() === "") return undefined;
    const match = /users:\(\("([^"]+)",pid=(\d+)/.exec(stdout);
    return match === null ? "another process" : `${match[1]} (pid ${match[2]})`;
  } catch {
    return "another process";
  }
}
