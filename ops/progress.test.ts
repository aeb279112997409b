import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createProgress } from "./progress.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function listen(isTTY: boolean) {
  const written: string[] = [];
  const progress = createProgress({
    isTTY,
    columns: 30,
    write: (text: string) => written.push(text),
  });
  return { progress, written };
}

test("what takes less than two seconds is not told", () => {
  const { progress, written } = listen(false);
  progress.step("asking");
  vi.advanceTimersByTime(1_900);
  progress.end();
  expect(written).toEqual([]);
});

test("off a terminal each step is one line, and a long one says that it lives", () => {
  const { progress, written } = listen(false);
  progress.step("copying files");
  progress.detail("12 %");
  vi.advanceTimersByTime(13_000);
  progress.step("checking");
  vi.advanceTimersByTime(1_000);
  progress.end();
  expect(written).toEqual(["copying files: 12 %\n", "copying files: 12 % (12 s)\n", "checking\n"]);
});

test("on a terminal one line is drawn again and again, within its width, and goes away", () => {
  const { progress, written } = listen(true);
  progress.step("copying a file with a very long name");
  vi.advanceTimersByTime(2_100);
  expect(written.at(-1)?.slice("\r\u001b[K⠋".length)).toBe(" copying a file with a very ");
  progress.end();
  expect(written.at(-1)).toBe("\r\u001b[K");
});

test("clear makes room for a question, and nothing comes back by itself", () => {
  const { progress, written } = listen(true);
  progress.step("planning");
  vi.advanceTimersByTime(3_000);
  progress.clear();
  const count = written.length;
  vi.advanceTimersByTime(5_000);
  expect(written.length).toBe(count);
  progress.end();
});
