import { expect, test } from "vitest";
import { run } from "./run.ts";

test("a signal that came before the program did ends it, too", async () => {
  const finished = await run("sleep", ["60"], { signal: AbortSignal.abort() });
  expect(finished.signal).toBe("SIGTERM");
});
