import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { DatabaseError } from "pg";
import { ApiError } from "./api-error.ts";
import { redactText } from "./redact.ts";
import { ConnectionLost } from "./transaction.ts";

/** Seconds after which a client is told to try again when the database is away. */
const retryAfterSeconds = 5;

/** The documented error body. */
export interface ErrorBody {
  error: string;
  code: string;
  details: object | null;
  request_id: string;
}

/** Answers any error in the documented shape; what is no refusal of ours is logged. */
export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const answer = toApiError(error);
  if (answer.status >= 500) {
    request.log.error(
      { code: answer.code, cause: describe(answer.cause ?? error) },
      answer.message,
    );
  }
  request.errorCode = answer.code;
  if (answer.retryAfterSeconds !== undefined) {
    void reply.header("retry-after", answer.retryAfterSeconds);
  }
  if (answer.status === 401) void reply.header("www-authenticate", 'Bearer realm="ctm"');
  void reply.code(answer.status).send(errorBody(answer, request.id));
}

export function errorBody(error: ApiError, requestId: string): ErrorBody {
  return {
    error: error.message,
    code: error.code,
    details: error.details,
    request_id: requestId,
  };
}

/** Turns whatever was thrown into what the client may know of it. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof ConnectionLost) {
    return unavailable("The database cannot be reached at the moment.", error);
  }
  if (error instanceof DatabaseError) return fromDatabase(error);
  return isFastifyError(error) ? fromFastify(error) : internal(error);
}

/** Fastify's own errors have a status, and its code or the validation that failed. */
function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && "statusCode" in error;
}

function fromFastify(error: FastifyError): ApiError {
  const [problem] = error.validation ?? [];
  if (problem !== undefined) {
    const where = `${error.validationContext ?? "request"}${problem.instancePath}`;
    const named = problem.params["additionalProperty"] ?? problem.params["allowedValues"];
    const what = `${problem.message ?? "is not valid"}${named === undefined ? "" : `: ${JSON.stringify(named)}`}`;
    return new ApiError("VALIDATION_ERROR", `${where} ${what}.`, {
      details: { field: where, problem: what },
    });
  }
  if (error.code === "FST_ERR_HANDLER_TIMEOUT") {
    return unavailable("The request took too long and was given up.", error);
  }
  if (error.code === "FST_ERR_CTP_INVALID_MEDIA_TYPE") {
    return new ApiError(
      "VALIDATION_ERROR",
      "The body must be JSON: Content-Type: application/json.",
    );
  }
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return new ApiError("VALIDATION_ERROR", `${error.message.replace(/\.$/, "")}.`);
  }
  return internal(error);
}

/** SQLSTATE classes that the client can do something about, now or later. */
function fromDatabase(error: DatabaseError): ApiError {
  const code = error.code ?? "";
  // 22 data exception, 23502 not null, 23503 foreign key, 23514 check: validation let it pass.
  if (code.startsWith("22") || ["23502", "23503", "23514"].includes(code)) {
    return new ApiError("VALIDATION_ERROR", "The database refused a value.", {
      details: {
        sqlstate: code,
        ...(error.table === undefined ? {} : { table: error.table }),
        ...(error.column === undefined ? {} : { column: error.column }),
        ...(error.constraint === undefined ? {} : { constraint: error.constraint }),
      },
      cause: error,
    });
  }
  // 53 out of resources, 55P03 lock not available, 57014 cancelled or timed out,
  // 40 rolled back, 25006 not the primary, 25P03 idle in transaction.
  if (/^(53|40)/.test(code) || ["55P03", "57014", "25006", "25P03"].includes(code)) {
    return unavailable("The database is too busy or changing its primary.", error);
  }
  return internal(error);
}

function unavailable(message: string, cause: unknown): ApiError {
  return new ApiError("SERVICE_UNAVAILABLE", message, { retryAfterSeconds, cause });
}

function internal(cause: unknown): ApiError {
  return new ApiError("INTERNAL_ERROR", "Something went wrong here; it has been logged.", {
    cause,
  });
}

/** An error for the log: where it came from, never the values that it concerns. */
export function describe(error: unknown): object {
  if (!(error instanceof Error)) return { message: redactText(String(error)) };
  return {
    type: error.name,
    message: redactText(error.message),
    ...("code" in error ? { code: error.code } : {}),
    ...(error instanceof ConnectionLost || error instanceof DatabaseError
      ? {}
      : { stack: redactText(error.stack ?? "") }),
    ...(error.cause === undefined ? {} : { cause: describe(error.cause) }),
  };
}
