import { join } from "node:path";
import { z } from "zod";
import type { StackPaths } from "#stack";
import { readFileIfExists, writeFileAtomic } from "#system";

/** How much a restore has to do. */
export interface Work {
  /** Bytes of the database's files. */
  databaseBytes: number;
  /** WAL segments to replay. */
  segments: number;
  /** Their bytes as stored: an almost empty segment is stored as almost nothing. */
  storedWalBytes: number;
}

/** How long it took, or will take. */
export interface Durations {
  filesMs: number;
  replayMs: number;
  /** Stopping, promoting, starting again; of a restore in place only. */
  otherMs: number;
}

const measurement = z.strictObject({
  at: z.iso.datetime(),
  kind: z.enum(["in-place", "beside"]),
  databaseBytes: z.number(),
  segments: z.number(),
  storedWalBytes: z.number(),
  filesMs: z.number(),
  replayMs: z.number(),
  otherMs: z.number(),
});

/** What a restore or a drill of this stack did and how long it took. */
export type Measurement = z.infer<typeof measurement>;

/** Measurements that are kept; older ones tell of another disk, or of less data. */
const keptMeasurements = 20;
const usedMeasurements = 5;

/**
 * The model before anything was measured, on the slow side: pgBackRest restored zst at 865 MB/s with
 * two processes; a full segment took 107 to 152 ms to replay, an empty one its fetch alone.
 */
export function modelled({ databaseBytes, segments, storedWalBytes }: Work): Durations {
  return {
    filesMs: 1_000 + databaseBytes / 400_000,
    replayMs: 1_000 + 50 * segments + storedWalBytes / 40_000,
    otherMs: 15_000,
  };
}

/** The model, corrected by how far it was off the last times: by the median, for one may be odd. */
export function predict(measurements: readonly Measurement[], work: Work): Durations {
  const model = modelled(work);
  const recent = measurements.slice(-usedMeasurements);
  const factor = (name: keyof Durations, of: readonly Measurement[]): number =>
    median(of.map((each) => each[name] / modelled(each)[name])) ?? 1;
  return {
    filesMs: Math.round(model.filesMs * factor("filesMs", recent)),
    replayMs: Math.round(model.replayMs * factor("replayMs", recent)),
    otherMs: Math.round(
      model.otherMs *
        factor(
          "otherMs",
          measurements.filter(({ kind }) => kind === "in-place").slice(-usedMeasurements),
        ),
    ),
  };
}

/** Oldest first; none where nothing was measured, or what is there cannot be read. */
export async function readMeasurements(paths: Pick<StackPaths, "state">): Promise<Measurement[]> {
  const text = await readFileIfExists(fileOf(paths));
  if (text === undefined) return [];
  try {
    return z.array(measurement).parse(JSON.parse(text));
  } catch {
    // A prediction is worth no failure.
    return [];
  }
}

/** Remembers what a restore or a drill measured, for the next prediction. */
export async function recordMeasurement(
  paths: Pick<StackPaths, "state">,
  measured: Measurement,
): Promise<void> {
  const all = [...(await readMeasurements(paths)), measured].slice(-keptMeasurements);
  await writeFileAtomic(fileOf(paths), `${JSON.stringify(all, null, 2)}\n`, { mode: 0o644 });
}

function fileOf({ state }: Pick<StackPaths, "state">): string {
  return join(state, "restore-measurements.json");
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];
}
