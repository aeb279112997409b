import { expect, test } from "vitest";
import { bytesText, countText, durationText, timeText } from "./text.ts";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [99_499, "99.5 kB"],
  [999_499, "999 kB"],
  [999_500, "1.0 MB"],
  [18_937_648, "18.9 MB"],
  [2_250_000_000, "2.3 GB"],
  [5e15, "5000 TB"],
])("%d bytes are %s", (bytes, expected) => {
  expect(bytesText(bytes)).toBe(expected);
});

test.each([
  [-5, "0 s"],
  [1_499, "1 s"],
  [119_499, "119 s"],
  [120_000, "2 min"],
  [7_199_000, "2 h"],
  [47 * 3_600_000, "47 h"],
  [72 * 3_600_000, "3 days"],
])("%d ms are %s", (ms, expected) => {
  expect(durationText(ms)).toBe(expected);
});

test("times keep their zone, counts their number", () => {
  expect(timeText("2031-03-02T02:10:44.123Z")).toBe("2031-03-02 02:10:44Z");
  expect(countText(1, "backup")).toBe("1 backup");
  expect(countText(0, "thing is", "things are")).toBe("0 things are");
});
