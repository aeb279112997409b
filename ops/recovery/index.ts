// What the stack's program needs of backups and their recovery: the service of the far copy.
export { bundleCopier } from "./copier/build.ts";
export type { CopierConfiguration } from "./copier/configuration.ts";
