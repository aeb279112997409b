import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { startProgram, startSupervisord, stopProgram, supervisordPid } from "#runtime";
import type { Descriptor, MemberDescriptor } from "#stack";
import { run, runAs } from "#system";
import { readCluster } from "../facts/cluster.ts";
import { stopServer } from "./instance.ts";
import { parseLsn } from "./wal.ts";

const clusterMs = 5_000;

/**
 * The member whose data is the newest: the one that leads; where none does, the one that wrote or
 * replayed furthest, by its control file.
 */
export async function newestMember(
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<MemberDescriptor> {
  const { members } = descriptor.postgres;
  const authority = await readFile(descriptor.tls.authority, "utf8");
  const { leader } = await readCluster(descriptor, authority, { timeoutMs: clusterMs, signal });
  const leading = members.find(({ name }) => name === leader);
  if (leading !== undefined) return leading;
  const known = await Promise.all(
    members.map(async (member) => ({ member, ...(await controlOf(descriptor, member)) })),
  );
  const [newest] = known.toSorted(
    (one, other) => other.timeline - one.timeline || (one.lsn < other.lsn ? 1 : -1),
  );
  if (newest === undefined) throw new Error("the descriptor names no member");
  return newest.member;
}

/** What a data directory's control file says; zeros where it cannot be read. */
export async function controlOf(
  { postgres, users }: Descriptor,
  { dataDirectory }: Pick<MemberDescriptor, "dataDirectory">,
): Promise<{ timeline: number; lsn: bigint }> {
  const { stdout } = await run(
    join(postgres.binaries, "pg_controldata"),
    ["--pgdata", dataDirectory],
    { ...(await runAs(users.postgres)), cwd: "/", env: { LC_ALL: "C.UTF-8" }, accept: [0, 1] },
  );
  const valueOf = (name: string): string =>
    new RegExp(`^${name}: +(\\S+)$`, "m").exec(stdout)?.[1] ?? "";
  const lsns = ["Latest checkpoint location", "Minimum recovery ending location"].map(
    (name) => parseLsn(valueOf(name)) ?? 0n,
  );
  return {
    timeline: Number(valueOf("Latest checkpoint's TimeLineID")) || 0,
    lsn: lsns.reduce((most, each) => (each > most ? each : most), 0n),
  };
}

/** Closes both ports, then stops the members: the leader last, so that nobody takes over. */
export async function stopCluster(
  descriptor: Descriptor,
  leader: string,
  report: (line: string) => void,
): Promise<void> {
  const { supervisor, postgres } = descriptor;
  if ((await supervisordPid(supervisor)) === undefined) {
    // etcd is needed, and whatever starts with it is stopped before it does anything.
    await startSupervisord(supervisor, descriptor.runtimeDirectories);
  }
  report("closing the read-write and the read-only port");
  await stopProgram(supervisor, proxyOf(descriptor));
  const leaderLast = postgres.members.toSorted(
    (one, other) => Number(one.name === leader) - Number(other.name === leader),
  );
  for (const { name, dataDirectory } of leaderLast) {
    report(`stopping ${name}`);
    await stopProgram(supervisor, name);
    // Patroni takes its server down with it, unless it was killed.
    await stopServer({ data: dataDirectory, work: dataDirectory }, "fast");
  }
}

export async function openPorts(descriptor: Descriptor): Promise<void> {
  await startProgram(descriptor.supervisor, proxyOf(descriptor));
}

function proxyOf({ services }: Descriptor): string {
  return services.find(({ kind }) => kind === "proxy")?.name ?? "proxy";
}
