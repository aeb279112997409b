import { readdir } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { CtmError, parseJson, readFileIfExists, run } from "#system";

/** A port that a stack needs. */
export interface PortRequest {
  /** Tried first. */
  preferred: number;
  /** The configuration key that demands exactly this port, or null when any free one will do. */
  demandedBy: string | null;
}

/** File in a stack's state folder that remembers its ports. */
export const portsFile = "ports.json";

/**
 * Chooses a port for each request: the remembered one, else the preferred one, else the next that
 * is free and that no other stack of this home remembers.
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
      chosen[name] = kept;
      used.add(kept);
    }
  }
  for (const [name, { preferred, demandedBy }] of ordered) {
    if (chosen[name] !== undefined) continue;
    const isFree = async (port: number): Promise<boolean> =>
      !used.has(port) && !othersPorts.has(port) && (await canListen(port));
    let port = preferred;
    if (demandedBy !== null && !(await isFree(port))) {
      const owner =
        othersPorts.get(port) ?? (await listenerOn(port)) ?? "another port of this stack";
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
