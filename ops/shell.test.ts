import { expect, test } from "vitest";
import { createShell, readLines } from "./shell.ts";

test("a program that is interrupted has ended, even when its output is held open", async () => {
  const interrupted = new AbortController();
  const shell = createShell({ env: process.env, signal: interrupted.signal });
  const lines: string[] = [];
  // The second sleep is nobody's child when the signal comes, as pgBackRest's workers can be.
  const finished = await readLines(
    shell`sh -c ${"(setsid sleep 1 &) ; echo one; exec sleep 5"}`,
    (line) => {
      lines.push(line);
      interrupted.abort();
    },
  );
  expect({ lines, signal: finished.signal }).toEqual({ lines: ["one"], signal: "SIGTERM" });
});

test("lines come in order, the last one without its end too, and an exit code is an answer", async () => {
  const shell = createShell({ env: process.env, signal: new AbortController().signal });
  const lines: string[] = [];
  const finished = await readLines(shell`sh -c ${"printf 'one\\ntwo\\nthree'; exit 3"}`, (line) =>
    lines.push(line),
  );
  expect({ lines, code: finished.exitCode }).toEqual({ lines: ["one", "two", "three"], code: 3 });
});
