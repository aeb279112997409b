import type { Assertion, FileResult, OutputLine, RunResult } from "../results.ts";

/** What a run is about to do. */
export interface RunPlan {
  files: readonly string[];
  /** At most. */
  workers: number;
}

/** Is told what happens, while it happens. Files overlap when there are several workers. */
export interface Reporter {
  onStart?(plan: RunPlan): void;
  onFileStart?(path: string): void;
  onAssertion?(path: string, assertion: Assertion): void;
  onOutput?(path: string, line: OutputLine): void;
  onFileEnd?(result: FileResult): void;
  /** The run is over; a reporter that writes a file may take its time. */
  onEnd?(result: RunResult): void | Promise<void>;
}
