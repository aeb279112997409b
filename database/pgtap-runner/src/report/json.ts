import type { Reporter } from "./reporter.ts";

/** One JSON document with the whole result, and nothing else. */
export function jsonReporter(write: (text: string) => void): Reporter {
  return { onEnd: (result) => write(`${JSON.stringify(result, undefined, 2)}\n`) };
}
