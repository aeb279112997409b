import { join } from "node:path";
import { CtmError, exists, waitFor } from "#system";
import type { Descriptor, ServiceDescriptor } from "#stack";
import { asSuperuser, provisioningOf } from "../../postgres/connection.ts";
import { type ClusterView, clusterOf, endpointsOf } from "../../postgres/patroni.ts";
import { listenerOn } from "./ports.ts";
import { endProcesses, stackProcesses } from "./processes.ts";
import { waitUntilReady } from "./readiness.ts";
import {
  programStates,
  startProgram,
  startSupervisord,
  stopSupervisord,
  supervisordPid,
  type ProgramState,
} from "./supervisor.ts";

export interface StackOptions {
  /** Told what happens, for people. */
  report: (line: string) => void;
}

/**
 * After a crash the old leader's key has to expire (ttl 20 s), and a crashed leader may recover for
 * 60 s before a standby takes over: both are in the dynamic configuration.
 */
const leaderTimeoutMs = 180_000;
const apiTimeoutMs = 60_000;

/**
 * Starts everything that the descriptor says should run, and returns when there is a leader, every
 * process runs and the API answers. Does nothing to what runs already.
 *
 * @throws CtmError `service-not-running`, `port-taken`, `deadline-passed`
 */
export async function startStack(descriptor: Descriptor, options: StackOptions): Promise<void> {
  await startProcesses(descriptor, options);
  await waitForProcesses(descriptor);
  await waitForLeader(descriptor, options);
  await waitUntilReady("api", apiReadiness(descriptor), apiTimeoutMs);
}

/**
 * Starts what exists of a stack so far, and waits for a leader where a cluster was made: what an
 * `up` needs before it looks at the database. A killed first run may have made less.
 *
 * @throws CtmError `file-missing`, `deadline-passed`
 */
export async function startCluster(
  descriptor: Descriptor,
  options: StackOptions & { leaderTimeoutMs: number },
): Promise<void> {
  if (!(await exists(descriptor.supervisor.configuration))) return;
  await startProcesses(descriptor, options);
  const needed = descriptor.services.filter(({ kind }) => clusterKinds.has(kind));
  const made = await Promise.all(
    needed.map(({ name }) => exists(join(descriptor.supervisor.programs, `${name}.conf`))),
  );
  if (made.includes(false)) return;
  const { certificate, key } = descriptor.postgres.provisioning;
  if (!(await exists(certificate)) || !(await exists(key))) {
    throw new CtmError("file-missing", `${certificate} or its key does not exist`, {
      next: "npm run up writes it anew",
    });
  }
  await waitForLeader(descriptor, options);
}

/** What has to be there before a leader can answer. */
const clusterKinds = new Set<ServiceDescriptor["kind"]>(["etcd", "postgres", "proxy"]);

/** Starts what is not running, without waiting for it. */
async function startProcesses(descriptor: Descriptor, { report }: StackOptions): Promise<void> {
  const { supervisor } = descriptor;
  if ((await supervisordPid(supervisor)) === undefined) {
    await endOrphans(descriptor, report);
    report(`starting ${descriptor.services.map(({ name }) => name).join(", ")}`);
    await startSupervisord(supervisor, descriptor.runtimeDirectories);
  }
  const stopped = await programsIn(descriptor, ["STOPPED", "EXITED", "FATAL"]);
  if (stopped.length > 0) {
    report(`starting ${stopped.join(", ")}`);
    for (const name of stopped) await startProgram(supervisor, name);
  }
}

async function waitForProcesses(descriptor: Descriptor): Promise<void> {
  let waiting: string[] = [];
  try {
    await waitFor(
      "every process to run",
      30_000,
      async () => {
        waiting = await programsIn(descriptor, [
          "STARTING",
          "BACKOFF",
          "FATAL",
          "EXITED",
          "UNKNOWN",
        ]);
        return waiting.length === 0 ? true : undefined;
      },
      { intervalMs: 300 },
    );
  } catch {
    throw await notRunning(descriptor, waiting);
  }
}

async function notRunning(descriptor: Descriptor, names: readonly string[]): Promise<CtmError> {
  for (const { port } of portsOf(descriptor)) {
    const listener = await listenerOn(port);
    if (listener === undefined || (await isOurs(listener, descriptor))) continue;
    return new CtmError("port-taken", `port ${port} of this stack is used by ${listener}`, {
      next: "end that process, then ctm start",
    });
  }
  return new CtmError("service-not-running", `${names.join(", ")} did not start`, {
    next: `ctm logs ${names[0] ?? ""}`,
  });
}

async function isOurs(listener: string, descriptor: Descriptor): Promise<boolean> {
  const pid = Number(/\(pid (\d+)\)/.exec(listener)?.[1]);
  return (await stackProcesses(descriptor.supervisor.stackDirectory)).includes(pid);
}

function portsOf(descriptor: Descriptor): { host: string; port: number }[] {
  const { postgres, etcd } = descriptor;
  return [
    postgres.rw,
    postgres.ro,
    ...postgres.members.flatMap((member) => [member, member.rest]),
    ...etcd.flatMap(({ client, peer }) => [client, peer]),
  ];
}

async function programsIn(
  descriptor: Descriptor,
  wanted: readonly ProgramState[],
): Promise<string[]> {
  const states = await programStates(descriptor.supervisor);
  return descriptor.services
    .map(({ name }) => name)
    .filter((name) => wanted.includes(states?.get(name) ?? "UNKNOWN"));
}

/**
 * What a killed supervisord left running would hold ports. PostgreSQL stays: Patroni takes a
 * running server over, and stopping it would only cost a recovery.
 */
async function endOrphans(descriptor: Descriptor, report: (line: string) => void): Promise<void> {
  const orphans = await stackProcesses(descriptor.supervisor.stackDirectory, { postgres: false });
  if (orphans.length === 0) return;
  report(`ending ${orphans.length} processes that outlived their supervisor`);
  await endProcesses(orphans, 20_000);
}

/** Waits until some member holds the leader's role and accepts writes through the proxy. */
export async function waitForLeader(
  descriptor: Descriptor,
  { report, leaderTimeoutMs: timeoutMs }: StackOptions & { leaderTimeoutMs?: number },
): Promise<ClusterView> {
  const endpoints = endpointsOf(descriptor);
  let shown = "";
  return await waitFor(
    "a leader behind the read-write port",
    timeoutMs ?? leaderTimeoutMs,
    async () => {
      const view = await clusterOf(endpoints);
      const states = view.members
        .map(({ name, role, state }) => `${name} ${role} ${state}`)
        .join(", ");
      if (states !== shown) report(`waiting for a leader: ${(shown = states)}`);
      // What etcd says may be older than the crash: only the server itself knows that it leads.
      await asSuperuser(provisioningOf(descriptor), "postgres", async (client) => {
        const { rows } = await client.query("SELECT pg_is_in_recovery() AS standby");
        if (rows[0]?.["standby"] !== false) throw new Error(`${states}; not writable yet`);
      });
      return view;
    },
    { intervalMs: 500, next: `ctm logs ${descriptor.postgres.members[0]?.name ?? ""}` },
  );
}

/** Stops every process of the stack and checks that none is left. */
export async function stopStack(descriptor: Descriptor, { report }: StackOptions): Promise<void> {
  report(`stopping ${descriptor.services.map(({ name }) => name).join(", ")}`);
  await stopSupervisord(descriptor.supervisor);
  await endProcesses(await stackProcesses(descriptor.supervisor.stackDirectory), 60_000);
  await waitFor("every process of the stack to be gone", 10_000, async () =>
    (await stackProcesses(descriptor.supervisor.stackDirectory)).length === 0 ? true : undefined,
  );
}

function apiReadiness(descriptor: Descriptor): Parameters<typeof waitUntilReady>[1] {
  const { hostname, port } = new URL(descriptor.api.adminUrl);
  return { kind: "http", host: hostname, port: Number(port), path: "/ready", authority: null };
}
