import { expect, test } from "vitest";
import { createPaint, table } from "./paint.ts";

const terminal = { isTTY: true, columns: 80 };

test.each([
  ["on a terminal", terminal, {}, "\u001b[31mbad\u001b[39m"],
  ["in a pipe", {}, {}, "bad"],
  ["with NO_COLOR", terminal, { NO_COLOR: "1" }, "bad"],
  ["with an empty NO_COLOR", terminal, { NO_COLOR: "" }, "\u001b[31mbad\u001b[39m"],
  ["on a dumb terminal", terminal, { TERM: "dumb" }, "bad"],
])("colour %s", (_, stream, env, expected) => {
  expect(createPaint(stream, env).bad("bad")).toBe(expected);
});

test("columns line up whatever the colour, and no line ends in blanks", () => {
  const paint = createPaint(terminal, {});
  const text = table(
    [
      ["NAME", "STATE"],
      ["n", paint.good("up")],
      ["longer", ""],
    ],
    paint,
  );
  expect(text).toBe("\u001b[2mNAME    STATE\u001b[22m\nn       \u001b[32mup\u001b[39m\nlonger");
});
