import { readFileIfExists, waitFor } from "#system";
import { request } from "node:https";
import { request as plainRequest } from "node:http";
import { accepts } from "./ports.ts";

/** How to see that a service does its work, beyond being a running process. */
export type Readiness =
  | { kind: "tcp"; host: string; port: number }
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
  const where = `${readiness.host}:${readiness.port}`;
  switch (readiness.kind) {
    case "tcp":
      await waitFor(
        `${name} to accept connections on ${where}`,
        timeoutMs,
        async () => ((await accepts(readiness.host, readiness.port)) ? true : undefined),
        { next: `ctm logs ${name}` },
      );
      return;
    case "http":
      await waitFor(
        `${name} to answer ${readiness.path} on ${where}`,
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
