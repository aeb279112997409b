import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  modelled,
  predict,
  readMeasurements,
  recordMeasurement,
  type Measurement,
  type Work,
} from "./rates.ts";

const work = { databaseBytes: 4_000_000_000, segments: 100, storedWalBytes: 400_000_000 };

function measured(
  factor: number,
  kind: Measurement["kind"] = "beside",
  done: Work = work,
): Measurement {
  const { filesMs, replayMs, otherMs } = modelled(done);
  return {
    at: "2026-11-24T02:00:00Z",
    kind,
    ...done,
    filesMs: filesMs * factor,
    replayMs: replayMs * factor,
    otherMs: otherMs * factor,
  };
}

test("without a measurement the model stands", () => {
  expect(predict([], work)).toEqual({ filesMs: 11_000, replayMs: 16_000, otherMs: 15_000 });
});

test("what was measured corrects it for more work too, an odd one apart", () => {
  const twice = { ...work, databaseBytes: 2 * work.databaseBytes };
  const past = [
    measured(9),
    measured(0.5),
    measured(0.5),
    measured(20),
    measured(0.5),
    measured(0.4),
  ];
  expect(predict(past, twice)).toMatchObject({ filesMs: 10_500, replayMs: 8_000 });
});

test("restores of about as much count most", () => {
  const tenth = { databaseBytes: 400_000_000, segments: 10, storedWalBytes: 40_000_000 };
  const past = [
    measured(2),
    ...Array.from({ length: 8 }, () => measured(0.5, "beside", tenth)),
    measured(2.2),
  ];
  expect(predict(past, work)).toMatchObject({ filesMs: 22_000, replayMs: 32_000 });
  expect(predict(past, tenth)).toMatchObject({ filesMs: 1_000, replayMs: 1_250 });
});

test("a drill says nothing about stopping and starting a cluster", () => {
  expect(predict([measured(3)], work).otherMs).toBe(15_000);
  expect(predict([measured(3), measured(2, "in-place")], work).otherMs).toBe(30_000);
});

test("measurements are kept, the newest twenty", async () => {
  const state = await mkdtemp(join(tmpdir(), "ctm-rates-"));
  try {
    for (let round = 1; round <= 22; round += 1)
      await recordMeasurement({ state }, measured(round));
    const kept = await readMeasurements({ state });
    expect(kept).toHaveLength(20);
    expect(kept.at(-1)).toEqual(measured(22));
    await writeFile(join(state, "restore-measurements.json"), "{");
    expect(await readMeasurements({ state })).toEqual([]);
  } finally {
    await rm(state, { recursive: true });
  }
});
