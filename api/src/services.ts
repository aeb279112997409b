import type { FastifyRequest } from "fastify";
import type { Access } from "./authorize.ts";
import type { ApiKey, KeyDirectory } from "./api-key.ts";
import type { CloudflareAccess } from "./cloudflare-access.ts";
import type { Settings } from "./config.ts";
import type { Measurements } from "./measurements.ts";
import type { Pools } from "./pools.ts";
import { redactText } from "./redact.ts";
import type { Allowance, RateLimiter } from "./rate-limit.ts";
import type { TransactionContext } from "./transaction.ts";

/** What routes work with. */
export interface Services {
  settings: Settings;
  pools: Pools;
  keys: KeyDirectory;
  limiter: RateLimiter;
  measurements: Measurements;
  /** Where it is configured, every request must carry its token. */
  access: CloudflareAccess | undefined;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** Who may call the route. A route without it is refused at start. */
    access?: Access;
  }
  interface FastifySchema {
    /** What the route does, and its name in generated clients; for openapi.json. */
    summary?: string;
    operationId?: string;
  }
  interface FastifyRequest {
    /** The key that passed every check; null before that, and where no route matched. */
    apiKey: ApiKey | null;
    allowance: Allowance | null;
    /** The code of the error that was answered, for the access log. */
    errorCode: string | null;
  }
}

/** The transaction settings of a request. */
export function contextOf(request: FastifyRequest, settings: Settings): TransactionContext {
  if (request.apiKey === null) throw new Error("a handler ran without an authenticated key");
  return {
    userId: request.apiKey.userId,
    apiKeyId: request.apiKey.id,
    requestId: request.id,
    clientAddress: clientAddress(request),
    userAgent: userAgent(request),
    environment: settings.environment,
    statementMs: settings.http.requestTimeoutMs,
  };
}

/** The client's address; an IPv4 one also where the socket is IPv6. */
export function clientAddress(request: FastifyRequest): string {
  return request.ip.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

/** What the client says it is, without keys, and no longer than somebody wants to read. */
export function userAgent(request: FastifyRequest): string {
  return redactText(request.headers["user-agent"] ?? "").slice(0, 512);
}
