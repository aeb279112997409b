import { expect, test } from "vitest";
import { waitFor } from "#system";
import { Interrupts } from "./interrupts.ts";

const env = process.env;

test("a guest's exit code comes through, and a signal's as a shell says it", async () => {
  const interrupts = new Interrupts();
  const shell = (script: string) =>
    interrupts.handOver({ command: "/bin/sh", args: ["-c", script], env });
  expect(await shell("exit 7")).toBe(7);
  expect(await shell("kill -TERM $$")).toBe(143);
});

test("signals go to the guest while it runs, and are ours again afterwards", async () => {
  const interrupts = new Interrupts();
  const script = "process.on('SIGINT', () => process.exit(9)); setInterval(() => {}, 1000)";
  const running = interrupts.handOver({ command: process.execPath, args: ["-e", script], env });
  let ended = false;
  void running.finally(() => (ended = true));
  // The guest needs a moment until it listens; a signal before that ends it another way.
  const code = await Promise.race([
    running,
    waitFor("the guest to take the signal", 10_000, async () => {
      interrupts.receive("SIGINT");
      return ended ? await running : undefined;
    }),
  ]);
  expect([9, 130]).toContain(code);
  expect(interrupts.signal.aborted).toBe(false);
  expect(interrupts.receive("SIGINT")).toBe(true);
  expect(interrupts.signal.aborted).toBe(true);
  expect(interrupts.receive("SIGINT")).toBe(false);
});

test("a program that is not installed is an error with the next step", async () => {
  const missing = new Interrupts().handOver({ command: "/no/such/psql", args: [], env });
  await expect(missing).rejects.toMatchObject({
    code: "command-not-found",
    message: "/no/such/psql is not installed",
    next: "ctm doctor",
  });
});
