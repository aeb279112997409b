import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import Fastify, { LogController, type FastifyInstance, type RouteOptions } from "fastify";
import { ApiError } from "./api-error.ts";
import { answerError, errorBody } from "./answer-error.ts";
import {
  checkAddress,
  checkEndpoint,
  checkKey,
  checkPermission,
  presentedKey,
} from "./authorize.ts";
import { parseJson } from "./parse-json.ts";
import type { AccessLogEntry } from "./queries/access-log.ts";
import { requestBudget } from "./rate-limit.ts";
import { redactBody, redactHeaders, redactText } from "./redact.ts";
import { changeTaskStatus } from "./routes/change-task-status.ts";
import { createTask } from "./routes/create-task.ts";
import { listTasks } from "./routes/list-tasks.ts";
import { readHealth } from "./routes/read-health.ts";
import { readMetrics } from "./routes/read-metrics.ts";
import { readTask } from "./routes/read-task.ts";
import { runQuery } from "./routes/run-query.ts";
import { sharedSchemas } from "./schemas.ts";
import { clientAddress, userAgent, type Services } from "./services.ts";

/** What the server tells the rest of the process about each answered request. */
export interface Observers {
  onAccess: (entry: AccessLogEntry) => void;
  /** Each use of a key that passed authentication. */
  onKeyUse: (apiKeyId: string) => void;
  onRoute?: (route: RouteOptions) => void;
}

const uuidShape = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const requestIdShape = /^[\w.:-]{1,128}$/;

/** The public server, ready to listen. */
export function createServer(services: Services, observers: Observers): FastifyInstance {
  const { settings } = services;
  const app = Fastify({
    logger: loggerOptions(settings.logLevel),
    logController: new LogController({
      disableRequestLogging: true,
      requestIdLogLabel: "request_id",
    }),
    genReqId: requestId,
    bodyLimit: settings.http.bodyBytes,
    requestTimeout: settings.http.requestTimeoutMs,
    handlerTimeout: settings.http.requestTimeoutMs,
    http: { connectionsCheckingInterval: 1000 },
    trustProxy: settings.trustedProxies.length === 0 ? false : settings.trustedProxies,
    // A draining server still answers what reaches it over connections that are already open.
    return503OnClosing: false,
    forceCloseConnections: "idle",
    // Types are not guessed and unknown keys are not dropped: both are errors. The first error is
    // enough, and collecting all of them would let a body of 1 MiB cost a hundred times that.
    ajv: {
      customOptions: {
        coerceTypes: false,
        removeAdditional: false,
        allErrors: false,
        allowUnionTypes: true,
      },
      // The usual format also allows `urn:uuid:…`, which PostgreSQL does not.
      onCreate: (ajv) => void ajv.addFormat("uuid", uuidShape),
    },
    clientErrorHandler: (error, socket) => {
      if (!socket.writable) return;
      const body = JSON.stringify(
        errorBody(new ApiError("VALIDATION_ERROR", "The request is not valid HTTP."), randomUUID()),
      );
      const status = "code" in error && error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? 408 : 400;
      socket.end(
        `HTTP/1.1 ${status} Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    },
    frameworkErrors: answerError,
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => {
    try {
      done(null, parseJson(String(body)));
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
  app.decorateRequest("apiKey", null);
  app.decorateRequest("allowance", null);
  app.decorateRequest("errorCode", null);
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((request, reply) => {
    answerError(new ApiError("NOT_FOUND", "There is no such endpoint."), request, reply);
  });
  for (const schema of sharedSchemas) app.addSchema(schema);

  app.addHook("onRoute", (route) => {
    if (route.config?.access === undefined) {
      throw new Error(`${String(route.method)} ${route.url} does not say who may call it`);
    }
    observers.onRoute?.(route);
  });

  // Before the body is read, so that nobody without a key can make us read one.
  app.addHook("onRequest", async (request, reply) => {
    void reply.header("x-request-id", request.id);
    void reply.header("cache-control", "no-store");
    void reply.header("x-content-type-options", "nosniff");
    await services.access?.check(request.headers["cf-access-jwt-assertion"]);
    const { access } = request.routeOptions.config;
    if (access === undefined) return;
    const key = await services.keys.find(presentedKey(request.headers));
    checkKey(key, Date.now());
    request.apiKey = key;
    observers.onKeyUse(key.id);
    checkAddress(key, clientAddress(request));
    checkEndpoint(key, request.method, documentedPath(request.routeOptions.url));
    const limits = requestBudget(key.perHour, key.perDay);
    const { allowance, refusal } = await services.limiter.take(key.id, limits);
    request.allowance = allowance;
    if (refusal !== undefined) throw refusal;
    checkPermission(key, access);
  });

  // A connection that is kept alive would keep the server from closing.
  let closing = false;
  app.addHook("preClose", async () => {
    closing = true;
  });

  app.addHook("onSend", async (request, reply) => {
    if (closing) void reply.header("connection", "close");
    if (request.allowance === null) return;
    const { limit, remaining, resetAt } = request.allowance;
    void reply.header("x-ratelimit-limit", limit);
    void reply.header("x-ratelimit-remaining", remaining);
    void reply.header("x-ratelimit-reset", Math.ceil(resetAt.getTime() / 1000));
  });

  app.addHook("onResponse", async (request, reply) => {
    const route = request.routeOptions.url;
    const milliseconds = Math.round(reply.elapsedTime);
    services.measurements.record(
      request.method,
      route === undefined ? "unknown" : documentedPath(route),
      reply.statusCode,
      reply.elapsedTime / 1000,
    );
    const endpoint = redactText(request.url.split("?")[0] ?? "").slice(0, 255);
    request.log.info(
      {
        method: request.method,
        endpoint,
        status: reply.statusCode,
        code: request.errorCode ?? undefined,
        milliseconds,
        address: clientAddress(request),
        api_key_id: request.apiKey?.id,
      },
      "answered",
    );
    observers.onAccess({
      request_id: request.id,
      endpoint,
      method: request.method,
      user_id: request.apiKey?.userId ?? null,
      api_key_id: request.apiKey?.id ?? null,
      ip_address: clientAddress(request),
      user_agent: userAgent(request) || null,
      request_headers: redactHeaders(request.headers),
      request_body: redactBody(request.body),
      response_status: reply.statusCode,
      response_headers: redactHeaders({
        "content-length": String(reply.getHeader("content-length") ?? ""),
      }),
      response_body: request.errorCode === null ? null : { code: request.errorCode },
      execution_time_ms: milliseconds,
      rate_limit_remaining: request.allowance?.remaining ?? null,
      rate_limit_reset: request.allowance?.resetAt.toISOString() ?? null,
      created_at: new Date(Date.now() - milliseconds).toISOString(),
    });
  });

  // Who may call what. Every door of the API is in this list.
  readHealth(app, services); // any key: every client may ask whether the service works
  listTasks(app, services); // read:tasks
  readTask(app, services); // read:tasks
  createTask(app, services); // write:tasks
  changeTaskStatus(app, services); // write:tasks
  readMetrics(app, services); // read:metrics
  runQuery(app, services); // admin: reads any table's harmless columns
  return app;
}

/** JSON lines on standard output; never headers, bodies or query strings. */
function loggerOptions(level: string): object {
  return {
    level,
    base: { service: "ctm-api" },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { req: () => undefined, res: () => undefined },
  };
}

/** A client may name its request, so that it finds it in the logs. */
function requestId(request: IncomingMessage): string {
  const named = request.headers["x-request-id"];
  return typeof named === "string" && requestIdShape.test(named) && redactText(named) === named
    ? named
    : randomUUID();
}

/** `/api/database/tasks/:id` as the documentation writes it: `/api/database/tasks/{id}`. */
export function documentedPath(route: string | undefined): string {
  return (route ?? "").replace(/:(\w+)/g, "{$1}");
}
