import type { Blocker } from "./blockers.ts";

/** What the runner is doing, as it happens. */
export type MigrationProgress =
  | { kind: "waiting-for-runner"; holder: string; waitedMs: number }
  | { kind: "adopted"; versions: string[] }
  | { kind: "file-started"; name: string; number: number; of: number }
  | { kind: "statement-started"; name: string; line: number; number: number; of: number }
  | { kind: "blocked"; name: string; line: number; waitedMs: number; blockers: Blocker[] }
  | { kind: "retrying"; name: string; line: number; attempt: number; delayMs: number; why: string }
  | { kind: "notice"; name: string; severity: string; message: string }
  | { kind: "index-dropped"; name: string; index: string }
  | { kind: "connection-lost"; name: string; message: string }
  | { kind: "file-applied"; name: string; durationMs: number };

/** One line of text for people, or undefined for what only a machine wants to know. */
export function describeProgress(progress: MigrationProgress): string | undefined {
  switch (progress.kind) {
    case "waiting-for-runner":
      return `another migration run is at work (${progress.holder}); waiting since ${seconds(progress.waitedMs)}`;
    case "adopted":
      return `found already applied: ${progress.versions.join(", ")}`;
    case "file-started":
      return `${progress.name} (${progress.number} of ${progress.of})`;
    case "statement-started":
      return undefined;
    case "blocked":
      return `${progress.name}:${progress.line} waits since ${seconds(progress.waitedMs)} for ${progress.blockers.map((blocker) => blocker.text).join(", and for ")}`;
    case "retrying":
      return `${progress.name}:${progress.line} gave way after ${progress.why}; attempt ${progress.attempt} in ${seconds(progress.delayMs)}`;
    case "notice":
      return `${progress.name}: ${progress.severity.toLowerCase()}: ${progress.message}`;
    case "index-dropped":
      return `${progress.name}: the index ${progress.index}, left invalid by an interrupted run, is dropped and will be built anew`;
    case "connection-lost":
      return `${progress.name}: ${progress.message}; connecting again to see what became of it`;
    case "file-applied":
      return `${progress.name} applied in ${seconds(progress.durationMs)}`;
  }
}

function seconds(milliseconds: number): string {
  return milliseconds < 1000
    ? `${Math.round(milliseconds)} ms`
    : `${Math.round(milliseconds / 100) / 10} s`;
}
