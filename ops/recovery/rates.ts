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

/** Measurements that are kept; older ones tell of another disk. */
const keptMeasurements = 20;
const usedMeasurements = 10;
/** Restores that differ by less than a tenth count as equally large. */
const nearby = 0.1;

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

/**
 * The model, corrected by how far it was off the last times: by a median, for one may be odd, in
 * which restores of about as much count most, for a disk that keeps up with little may not with much.
 */
export function predict(measurements: readonly Measurement[], work: Work): Durations {
  const model = modelled(work);
  const predicted = (name: keyof Durations, of: readonly Measurement[]): number => {
    const factors = of.slice(-usedMeasurements).map((each) => {
      const own = modelled(each)[name];
      const distance = Math.abs(Math.log(own / model[name]));
      return { value: each[name] / own, weight: 1 / (nearby + distance) ** 2 };
    });
    return Math.round(model[name] * (weightedMedian(factors) ?? 1));
  };
  return {
    filesMs: predicted("filesMs", measurements),
    replayMs: predicted("replayMs", measurements),
    otherMs: predicted(
      "otherMs",
      measurements.filter(({ kind }) => kind === "in-place"),
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

function weightedMedian(values: readonly { value: number; weight: number }[]): number | undefined {
  const half = values.reduce((sum, { weight }) => sum + weight, 0) / 2;
  let passed = 0;
  return values
    .toSorted((one, other) => one.value - other.value)
    .find(({ weight }) => (passed += weight) >= half)?.value;
}
