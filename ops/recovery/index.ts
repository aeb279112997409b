// What the stack's program needs of backups and their recovery: the service of the far copy, and
// what a policy cannot promise.
export { bundleCopier } from "./copier/build.ts";
export type { CopierConfiguration } from "./copier/configuration.ts";
export { contradictions, farRoundSeconds } from "./schedule.ts";
