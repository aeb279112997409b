import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { run, runAs, waitFor } from "#system";
import { readRepository } from "../facts/repository.ts";
import { openStack } from "../open-stack.ts";
import { startScratchStack, type ScratchStack } from "../testing/scratch-stack.ts";
import { recoverBeside, scratchNotes, type Recovery } from "./scratch.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

let stack: ScratchStack;
let recovery: Recovery;

beforeAll(async () => {
  stack = await startScratchStack();
  const { descriptor } = stack;
  const configuration = descriptor.postgres.members[0]?.backrestConfiguration ?? "";
  const source = {
    configuration,
    stanza: descriptor.backup.stanza,
    user: descriptor.users.postgres,
  };
  await run(
    "pgbackrest",
    [`--config=${configuration}`, `--stanza=${source.stanza}`, "--type=full", "backup"],
    { ...(await runAs(source.user)), cwd: "/" },
  );
  const facts = await readRepository(descriptor, context(), 10_000);
  const [backup] = facts.backups;
  recovery = {
    source,
    set: backup?.label ?? "",
    stop: { kind: "end" },
    timeline: 1,
    archive: { from: backup?.firstWal ?? "", through: backup?.lastWal ?? "" },
    work: { databaseBytes: 1, segments: 1, storedWalBytes: 1 },
  };
});

afterAll(async () => {
  await stack.stop();
});

function context(signal = new AbortController().signal) {
  return {
    env: stack.env,
    signal,
    progress: { step: () => undefined, detail: () => undefined, clear: () => undefined },
  };
}

test.each<[string, number]>([
  ["before its first file", 0],
  ["after its first files", 20],
  ["among its files", 300],
])("a recovery that is interrupted %s leaves nothing", async (when, files) => {
  const opened = await openStack({ stack: "local", env: stack.env });
  const { paths } = opened;
  const directory = join(paths.state, "interrupted");
  const interrupted = new AbortController();
  const ended = recoverBeside(
    opened,
    recovery,
    { directory, purpose: "look", target: "the end", expiresAt: new Date(Date.now() + 60_000) },
    context(interrupted.signal),
  ).catch((error: unknown) => error);
  await waitFor(
    when,
    20_000,
    async () =>
      (await readdir(directory, { recursive: true })).length >= files ? true : undefined,
    { intervalMs: 1 },
  );
  interrupted.abort();
  expect(await ended).toMatchObject({ code: "restore-failed" });
  expect(await readdir(paths.state)).not.toContain("interrupted");
  expect(await scratchNotes(paths)).toEqual([]);
});
