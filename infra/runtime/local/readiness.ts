import { stat } from "node:fs/promises";
import { exists, readFileIfExists, waitFor } from "#system";
import { request } from "node:https";
import { request as plainRequest } from "node:http";
import { accepts } from "./ports.ts";

/** How to see that a service does its work, beyond being a running process. */
export type Readiness =
  | { kind: "tcp"; host: string; port: number }
  /** A file that the service writes anew again and again. */
  | { kind: "heartbeat"; path: string }
  | {
      kind: "http";
      host: string;
      port: number;
      path: string;
      /** PEM file of the authority for HTTPS; null for plain HTTP. */
      authority: string | null;
    };

/** Waits until the service answers as it should. */
export async function waitUntilReady(
  name: string,
  readiness: Readiness,
  timeoutMs: number,
): Promise<void> {
  switch (readiness.kind) {
    case "heartbeat":
      await waitForHeartbeat(name, readiness.path, timeoutMs);
      return;
    case "tcp":
      await waitFor(
        `${name} to accept connections on ${readiness.host}:${readiness.port}`,
        timeoutMs,
        async () => ((await accepts(readiness.host, readiness.port)) ? true : undefined),
        { next: `ctm logs ${name}` },
      );
      return;
    case "http":
      await waitFor(
        `${name} to answer ${readiness.path} on ${readiness.host}:${readiness.port}`,
        timeoutMs,
        async () => {
          const status = await statusOf(readiness);
          if (status >= 200 && status < 300) return true;
          throw new Error(`it answered ${status}`);
        },
        { next: `ctm logs ${name}` },
      );
  }
}

async function waitForHeartbeat(name: string, path: string, timeoutMs: number): Promise<void> {
  // The service may just have been started: what it wrote before is no sign of life.
  const before = await writtenAt(path);
  await waitFor(
    `${name} to write ${path}`,
    timeoutMs,
    async () => ((await writtenAt(path)) > before ? true : undefined),
    { next: `ctm logs ${name}` },
  );
}

async function writtenAt(path: string): Promise<number> {
  return (await exists(path)) ? (await stat(path)).mtimeMs : 0;
}

async function statusOf(target: Extract<Readiness, { kind: "http" }>): Promise<number> {
  const { host, port, path, authority } = target;
  const ca = authority === null ? undefined : await readFileIfExists(authority);
  return await new Promise((resolve, reject) => {
    const options = { host, port, path, timeout: 3000, agent: false };
    const outgoing = ca === undefined ? plainRequest(options) : request({ ...options, ca });
    outgoing.once("response", (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    outgoing.once("timeout", () => outgoing.destroy(new Error("no answer within 3 s")));
    outgoing.once("error", reject);
    outgoing.end();
  });
}
