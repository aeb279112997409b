import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";
import { foreseePorts, type PortRequest } from "./ports.ts";

/*
 * A run chooses its ports long before anything listens there. Each run is a process of its own here,
 * as it is in life, and lives until its test ends it.
 */

/** Below those that the kernel gives to outgoing connections; another process tests with others. */
const firstPort = 12_000 + (process.pid % 9_000) * 2;
const requests: Record<string, PortRequest> = {
  readWrite: { preferred: firstPort, demandedBy: null },
  readOnly: { preferred: firstPort + 1, demandedBy: null },
};
const script = `
const [module, requests] = process.argv.slice(1);
const { choosePorts } = await import(module);
console.log(JSON.stringify(await choosePorts(JSON.parse(requests), {}, new Map())));
process.stdin.resume();
`;

const runs: ChildProcess[] = [];

afterEach(async () => {
  for (const child of runs.splice(0)) await kill(child);
});

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

/** A run in a home of its own, right after it has chosen. */
async function startRun(): Promise<{ child: ChildProcess; ports: Record<string, number> }> {
  const module = new URL("ports.ts", import.meta.url).href;
  const child = spawn(
    process.execPath,
    ["--input-type=module", "--eval", script, module, JSON.stringify(requests)],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  runs.push(child);
  for await (const line of createInterface(child.stdout)) {
    return { child, ports: JSON.parse(line) as Record<string, number> };
  }
  throw new Error("the run chose no ports");
}

test("runs that choose at once, each in its own home, choose different ports", async () => {
  const chosen = await Promise.all([startRun(), startRun(), startRun()]);
  const ports = chosen.flatMap((one) => Object.values(one.ports));
  expect(new Set(ports).size).toBe(6);
});

test("a port is free again once the run that chose it was killed", async () => {
  const { child, ports } = await startRun();
  await kill(child);
  expect(await foreseePorts(requests, {}, new Map())).toEqual(ports);
});

test("looking ahead reserves nothing", async () => {
  const foreseen = await foreseePorts(requests, {}, new Map());
  expect((await startRun()).ports).toEqual(foreseen);
});

test("a demanded port that another run has chosen is refused, and told why", async () => {
  const { ports } = await startRun();
  const demanded = { readWrite: { preferred: ports["readWrite"] ?? 0, demandedBy: "ctm:rw" } };
  await expect(foreseePorts(demanded, {}, new Map())).rejects.toMatchObject({
    code: "port-taken",
    message: `ctm:rw asks for port ${ports["readWrite"]}, which another run on this machine uses`,
  });
});
