import { request } from "node:https";
import { z } from "zod";
import type { Descriptor } from "#stack";
import { CtmError, readFileIfExists } from "#system";

/** How to reach one member's Patroni REST API. */
export interface PatroniEndpoint {
  host: string;
  port: number;
  /** PEM file of the stack's authority. */
  authority: string;
}

/** Every member of a stack, in the order of its descriptor. */
export function endpointsOf({ postgres, tls }: Descriptor): PatroniEndpoint[] {
  return postgres.members.map(({ rest }) => ({ ...rest, authority: tls.authority }));
}

const clusterView = z.object({
  members: z.array(
    z.object({
      name: z.string(),
      role: z.string(),
      state: z.string(),
      timeline: z.number().optional(),
      /** Bytes behind the leader; "unknown" for a member that does not answer. */
      lag: z.union([z.number(), z.string()]).optional(),
      host: z.string().optional(),
      port: z.number().optional(),
      pending_restart: z.boolean().optional(),
    }),
  ),
  pause: z.boolean().optional(),
});
export type ClusterView = z.infer<typeof clusterView>;

const memberView = z.object({
  state: z.string(),
  role: z.string(),
  server_version: z.number().optional(),
  timeline: z.number().optional(),
  database_system_identifier: z.string().optional(),
  pending_restart: z.boolean().optional(),
});
export type MemberView = z.infer<typeof memberView>;

/** The whole cluster as any member that answers sees it. */
export async function clusterOf(endpoints: readonly PatroniEndpoint[]): Promise<ClusterView> {
  return await firstAnswer(endpoints, async (endpoint) =>
    clusterView.parse(JSON.parse((await call(endpoint, "GET", "/cluster")).body)),
  );
}

/** One member's own view of itself; Patroni answers 503 with a body while it is not running. */
export async function memberOf(endpoint: PatroniEndpoint): Promise<MemberView> {
  return memberView.parse(JSON.parse((await call(endpoint, "GET", "/patroni")).body));
}

/** The dynamic configuration that all members share. */
export async function dynamicConfiguration(
  endpoints: readonly PatroniEndpoint[],
): Promise<Record<string, unknown>> {
  return await firstAnswer(endpoints, async (endpoint) => {
    const { status, body } = await call(endpoint, "GET", "/config");
    if (status !== 200) throw new Error(`GET /config answered ${status}`);
    return z.record(z.string(), z.unknown()).parse(JSON.parse(body));
  });
}

/** Replaces the dynamic configuration. `credentials` is `user:password` of the REST API. */
export async function replaceDynamicConfiguration(
  endpoints: readonly PatroniEndpoint[],
  credentials: string,
  configuration: Record<string, unknown>,
): Promise<void> {
  await firstAnswer(endpoints, async (endpoint) => {
    const answer = await call(endpoint, "PUT", "/config", { credentials, body: configuration });
    if (answer.status !== 200)
      throw new Error(`PUT /config answered ${answer.status}: ${answer.body}`);
  });
}

/** Restarts PostgreSQL under one member, when a changed setting asks for it. */
export async function restartMember(endpoint: PatroniEndpoint, credentials: string): Promise<void> {
  const answer = await call(endpoint, "POST", "/restart", {
    credentials,
    body: { restart_pending: true },
    timeoutMs: 120_000,
  });
  // 503 says that no restart is pending any more.
  if (answer.status !== 200 && answer.status !== 503) {
    throw new Error(`POST /restart answered ${answer.status}: ${answer.body}`);
  }
}

async function firstAnswer<T>(
  endpoints: readonly PatroniEndpoint[],
  ask: (endpoint: PatroniEndpoint) => Promise<T>,
): Promise<T> {
  const failures: string[] = [];
  for (const endpoint of endpoints) {
    try {
      return await ask(endpoint);
    } catch (error) {
      failures.push(
        `${endpoint.host}:${endpoint.port}: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
  throw new CtmError(
    "cluster-unreachable",
    `no member answers on Patroni's API (${failures.join("; ")})`,
    {
      next: "ctm start",
    },
  );
}

/** One call of Patroni's REST API over TLS, certificate and host name verified. */
export async function call(
  endpoint: PatroniEndpoint,
  method: "GET" | "PUT" | "POST" | "PATCH",
  path: string,
  options: { credentials?: string; body?: unknown; timeoutMs?: number } = {},
): Promise<{ status: number; body: string }> {
  const ca = await readFileIfExists(endpoint.authority);
  if (ca === undefined) throw new Error(`${endpoint.authority} does not exist`);
  const timeoutMs = options.timeoutMs ?? 5000;
  return await new Promise((resolve, reject) => {
    const outgoing = request({
      host: endpoint.host,
      port: endpoint.port,
      method,
      path,
      ca,
      agent: false,
      timeout: timeoutMs,
      ...(options.credentials === undefined ? {} : { auth: options.credentials }),
      headers: { "content-type": "application/json" },
    });
    outgoing.once("response", (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => (body += text));
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body }));
      response.once("error", reject);
    });
    outgoing.once("timeout", () => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    outgoing.once("error", reject);
    outgoing.end(options.body === undefined ? undefined : JSON.stringify(options.body));
  });
}
