import { readFile } from "node:fs/promises";
import { CtmError, messageOf } from "#system";
import type { Context } from "../command.ts";
import { readApi, type ApiFacts } from "../facts/api.ts";
import { readCluster, type ClusterFacts } from "../facts/cluster.ts";
import { stackConnection, type LoginRole } from "../facts/connection.ts";
import { readRepository, type RepositoryFacts } from "../facts/repository.ts";
import { readArchiver, readDoor, type ArchiverFacts, type DoorFacts } from "../facts/server.ts";
import { readTunnel, type TunnelFacts } from "../facts/tunnel.ts";
import { readServices, type ServiceFacts } from "../facts/services.ts";
import { isBehind } from "../facts/window.ts";
import {
  farRepositories,
  nearRepositories,
  readArchive,
  type ArchiveListing,
} from "../recovery/archive.ts";
import { readCopierState, type CopierState } from "../recovery/copier/state.ts";
import { readMeasurements, type Measurement } from "../recovery/rates.ts";
import { readRestoreState, type RestoreState } from "../recovery/restore-state.ts";
import { lastDrill, type DrillDocument } from "../drill/report.ts";
import { within } from "../facts/within.ts";
import type { Stack } from "../open-stack.ts";

/**
 * One part of the stack asked once: what it answered, or why it did not. Both are null where this
 * user may not ask, which says nothing about the part.
 */
export type Probe<T> = { facts: T; failure: null } | { facts: null; failure: string | null };

/** Everything that the parts of a stack say of themselves at one moment. */
export interface Probes {
  services: Probe<ServiceFacts[]>;
  cluster: Probe<ClusterFacts>;
  rw: Probe<DoorFacts>;
  ro: Probe<DoorFacts>;
  archiver: Probe<ArchiverFacts>;
  repository: Probe<RepositoryFacts>;
  /** The near repository's files. */
  archive: Probe<ArchiveListing>;
  /** What the copier of the far repository says; null facts in a stack without one. */
  far: Probe<CopierState | undefined>;
  api: Probe<ApiFacts>;
  tunnel: Probe<TunnelFacts>;
  schema: Probe<{ version: string | null; pending: number }>;
  drill: Probe<{ last: DrillDocument | null }>;
  /** The last restore in place, until it is confirmed or undone. */
  restore: Probe<{ state: RestoreState | null }>;
  /** Of earlier restores and drills. */
  measurements: Probe<Measurement[]>;
}

/** No part may hold up the answer for longer than this. */
export const probeMs = 3_000;

/** Asks all parts at once; a dead part costs `probeMs` and nothing else. */
export async function gather(
  stack: Stack,
  context: Pick<Context, "env" | "signal">,
): Promise<Probes> {
  const { descriptor } = stack;
  const connection = (role: LoginRole, door: "rw" | "ro") => stackConnection(stack, role, door);
  const archive = probe(readNearArchive(stack, context));
  const far = probe(readFar(stack));
  const [
    services,
    cluster,
    rw,
    ro,
    archiver,
    firstRepository,
    api,
    tunnel,
    schema,
    drill,
    restore,
    measurements,
  ] = await Promise.all([
    probe(readServices(descriptor)),
    probe(
      readFile(descriptor.tls.authority, "utf8").then((authority) =>
        readCluster(descriptor, authority, { timeoutMs: probeMs, signal: context.signal }),
      ),
    ),
    probe(connection("ctm_monitor", "rw").then((config) => readDoor(config, probeMs))),
    probe(connection("ctm_monitor", "ro").then((config) => readDoor(config, probeMs))),
    probe(connection("ctm_monitor", "rw").then((config) => readArchiver(config, probeMs))),
    probe(readRepository(descriptor, context, probeMs)),
    probe(readApi(descriptor.api.adminUrl, { timeoutMs: probeMs, signal: context.signal })),
    probe(readTunnel(descriptor, { timeoutMs: probeMs, signal: context.signal })),
    probe(connection("ctm_migrator", "rw").then(readSchema)),
    probe(lastDrill(stack.paths).then((last) => ({ last }))),
    probe(readRestoreState(stack.paths).then((state) => ({ state: state ?? null }))),
    probe(readMeasurements(stack.paths)),
  ]);
  // Both were read at once: a segment archived in between is in one and not yet in the other.
  const repository = isBehind(archiver.facts, firstRepository.facts)
    ? await probe(readRepository(descriptor, context, probeMs))
    : firstRepository;
  return {
    services,
    cluster,
    rw,
    ro,
    archiver,
    repository,
    archive: await archive,
    far: await far,
    api,
    tunnel,
    schema,
    drill,
    restore,
    measurements,
  };
}

async function probe<T>(work: Promise<T>): Promise<Probe<T>> {
  try {
    // Half a second more than the work gives itself, so that its own words are heard.
    return { facts: await within(probeMs + 500, work), failure: null };
  } catch (error) {
    if (!(error instanceof CtmError)) return { facts: null, failure: messageOf(error) };
    return { facts: null, failure: error.code === "no-permission" ? null : error.message };
  }
}

async function readNearArchive(
  { descriptor }: Stack,
  context: Pick<Context, "env" | "signal">,
): Promise<ArchiveListing> {
  const [near] = nearRepositories(descriptor);
  if (near === undefined) throw new Error("the descriptor names no near repository");
  return await readArchive(descriptor, context, near);
}

async function readFar({ descriptor }: Stack): Promise<CopierState | undefined> {
  const [far] = farRepositories(descriptor);
  if (far === undefined) return undefined;
  const state = await readCopierState(far.state);
  if (state === undefined) throw new Error("the copier has not written anything yet");
  return state;
}

async function readSchema(
  config: Awaited<ReturnType<typeof stackConnection>>,
): Promise<{ version: string | null; pending: number }> {
  const { migrationStatus } = await import("#database");
  const state = await migrationStatus({
    ...config,
    role: "ctm_owner",
    connectionTimeoutMillis: probeMs,
    query_timeout: probeMs,
  });
  return { version: state.schemaVersion, pending: state.pending.length };
}
