import { readFileSync } from "node:fs";
import { RunnerError } from "../errors.ts";
import type { ConnectionOptions } from "../server/connection-settings.ts";

/** Options of every command that connects; short ones as psql has them. */
export const connectionOptionTypes = {
  url: { type: "string" },
  host: { type: "string", short: "h" },
  port: { type: "string", short: "p" },
  username: { type: "string", short: "U" },
  dbname: { type: "string", short: "d" },
  "maintenance-db": { type: "string" },
} as const;

type ConnectionValues = { [name in keyof typeof connectionOptionTypes]?: string | undefined };

/** @throws RunnerError `wrong-usage` */
export function readConnection(values: ConnectionValues): ConnectionOptions {
  const port = count("port", values.port);
  const maintenanceDatabase = values["maintenance-db"];
  return {
    ...(values.url === undefined ? {} : { url: values.url }),
    ...(values.host === undefined ? {} : { host: values.host }),
    ...(port === undefined ? {} : { port }),
    ...(values.username === undefined ? {} : { user: values.username }),
    ...(values.dbname === undefined ? {} : { database: values.dbname }),
    ...(maintenanceDatabase === undefined ? {} : { maintenanceDatabase }),
  };
}

export function wrongUsage(what: string): RunnerError {
  return new RunnerError("wrong-usage", what, { exitCode: 2, next: "pgtap-runner --help" });
}

/** @throws RunnerError `wrong-usage` */
export function count(name: string, text: string | undefined, least = 1): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) {
    throw wrongUsage(`--${name} ${text} is no whole number of at least ${least}`);
  }
  return value;
}

/** This package's version. */
export function version(): string {
  const url = new URL("../../package.json", import.meta.url);
  const description: unknown = JSON.parse(readFileSync(url, "utf8"));
  if (typeof description !== "object" || description === null || !("version" in description)) {
    return "unknown";
  }
  return String(description.version);
}
