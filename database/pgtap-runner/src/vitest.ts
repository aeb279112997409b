import { afterAll, beforeAll, describe, test } from "vitest";
import { explainFile } from "./report/format.ts";
import type { FileResult } from "./results.ts";
import { findFiles } from "./run/find-files.ts";
import { type RunOptions, runTests } from "./run/run-tests.ts";

/** What `runTests` takes, and how long one file may be waited for. */
export interface VitestOptions extends Omit<RunOptions, "reporters" | "signal" | "runtests"> {
  /** Most time until a file has its turn and is done, in milliseconds. Default ten minutes. */
  waitMs?: number;
}

/**
 * Makes a suite in which every pgTAP file is a test. Call it in a test file, at its top level or in
 * a `describe`; the files run together, in parallel as ever, when the suite's turn comes.
 */
export function describePgtap(name: string, options: VitestOptions): void {
  const files = findFiles(
    options.files ?? [],
    options.workingDirectory ?? process.cwd(),
    options.extensions,
  );
  const waitMs = options.waitMs ?? 600_000;
  // Titles are the caller's here.
  // oxlint-disable-next-line vitest/valid-title
  describe(name, () => {
    const results = new Map(files.map((file) => [file, Promise.withResolvers<FileResult>()]));
    const interruption = new AbortController();
    let running: Promise<unknown> = Promise.resolve();

    beforeAll(() => {
      // A file whose test was filtered out is waited for by nobody.
      for (const { promise } of results.values()) promise.catch(() => undefined);
      running = runTests({
        ...options,
        files,
        signal: interruption.signal,
        reporters: [{ onFileEnd: (result) => results.get(result.path)?.resolve(result) }],
      }).catch((error: unknown) => {
        for (const { reject } of results.values()) reject(error);
      });
    });

    afterAll(async () => {
      interruption.abort();
      await running;
    }, waitMs);

    for (const file of files) {
      // The assertions are in the file; this only says how they came out.
      // oxlint-disable-next-line vitest/expect-expect, vitest/valid-title
      test(file, { timeout: waitMs }, async (context) => {
        const result = await results.get(file)?.promise;
        if (result === undefined || result.status === "passed") return;
        if (result.status === "skipped") return context.skip(result.reason);
        const why = result.status === "not-run" ? `did not run: ${result.reason}` : "failed";
        const lines = explainFile(result).map((line) => line.text);
        const error = new Error([`${file} ${why}`, ...lines].join("\n"));
        // The place that matters is in the text; a stack would only show this file.
        error.stack = "";
        throw error;
      });
    }
  });
}
