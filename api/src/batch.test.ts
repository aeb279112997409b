import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Batch } from "./batch.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function collecting(options: { size: number; capacity: number }) {
  const written: number[][] = [];
  const state = { fails: false, lost: 0, errors: 0 };
  const batch = new Batch<number>(
    async (entries) => {
      if (state.fails) throw new Error("no database");
      written.push(entries);
    },
    (lost, error) => {
      state.lost += lost;
      if (error !== undefined) state.errors += 1;
    },
    { everyMs: 1000, ...options },
  );
  return { batch, written, state };
}

describe("a batch", () => {
  test("is written after its time", async () => {
    const { batch, written } = collecting({ size: 10, capacity: 100 });
    batch.add(1);
    batch.add(2);
    expect(written).toEqual([]);
    await vi.advanceTimersByTimeAsync(1000);
    expect(written).toEqual([[1, 2]]);
    await batch.end();
  });

  test("is written at once when it is full", async () => {
    const { batch, written } = collecting({ size: 2, capacity: 100 });
    for (const entry of [1, 2, 3]) batch.add(entry);
    await vi.advanceTimersByTimeAsync(0);
    expect(written).toEqual([[1, 2], [3]]);
    await batch.end();
  });

  test("waits for the database in order, and loses the oldest when it is too much", async () => {
    const { batch, written, state } = collecting({ size: 2, capacity: 4 });
    state.fails = true;
    for (const entry of [1, 2, 3, 4, 5, 6]) batch.add(entry);
    await vi.advanceTimersByTimeAsync(3000);
    expect(state).toMatchObject({ lost: 2, errors: 4 });
    expect(batch.waiting).toBe(4);
    state.fails = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect(written).toEqual([
      [3, 4],
      [5, 6],
    ]);
    await batch.end();
  });

  test("is written at the end, or said to be lost", async () => {
    const good = collecting({ size: 10, capacity: 100 });
    good.batch.add(1);
    await good.batch.end();
    expect(good.written).toEqual([[1]]);
    const bad = collecting({ size: 10, capacity: 100 });
    bad.state.fails = true;
    bad.batch.add(1);
    await bad.batch.end();
    expect(bad.state.lost).toBe(1);
  });
});
