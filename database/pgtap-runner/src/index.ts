// Runs pgTAP tests in parallel on copies of a template database, strictly.
export {
  type AccessDeclaration,
  type Actor,
  type Command,
  type ObjectDeclaration,
  type Outcome,
  defineAccess,
} from "./access/declaration.ts";
export {
  type AccessCell,
  type AccessObject,
  type AccessOptions,
  type AccessResult,
  checkAccess,
} from "./access/matrix.ts";
export { accessHtml, accessMarkdown } from "./access/render.ts";
export { RunnerError } from "./errors.ts";
export {
  explainAssertion,
  explainFile,
  explainOutput,
  explainProblem,
  type ReportLine,
  type Tone,
} from "./report/format.ts";
export { githubReporter } from "./report/github.ts";
export { jsonReporter } from "./report/json.ts";
export { junitReporter } from "./report/junit.ts";
export type { Reporter, RunPlan } from "./report/reporter.ts";
export { specReporter, type SpecOptions } from "./report/spec.ts";
export { tapReporter } from "./report/tap.ts";
export type {
  Assertion,
  Counts,
  FileResult,
  FileStatus,
  Location,
  OutputLine,
  Problem,
  ProblemCode,
  RunResult,
} from "./results.ts";
export { findFiles } from "./run/find-files.ts";
export { assertionsFile } from "./run/prepare-template.ts";
export { runTests, type RunOptions } from "./run/run-tests.ts";
export type { ConnectionOptions } from "./server/connection-settings.ts";
