// The HTTP service in front of the database: its bundle, its version, its configuration.
export { bundleApi } from "./build.ts";
export type { ApiConfiguration } from "./src/config.ts";
export { apiVersion } from "./src/version.ts";
