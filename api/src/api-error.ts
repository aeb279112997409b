/** Every code that a client can meet, with its HTTP status. */
const errorStatus = {
  VALIDATION_ERROR: 400,
  QUERY_NOT_ALLOWED: 400,
  QUERY_EXECUTION_ERROR: 400,
  MISSING_API_KEY: 401,
  INVALID_API_KEY: 401,
  INACTIVE_API_KEY: 401,
  EXPIRED_API_KEY: 401,
  INSUFFICIENT_PERMISSIONS: 403,
  ACCESS_TOKEN_REQUIRED: 403,
  IP_NOT_ALLOWED: 403,
  ENDPOINT_NOT_ALLOWED: 403,
  NOT_FOUND: 404,
  TASK_NOT_FOUND: 404,
  RATE_LIMIT_EXCEEDED: 429,
  INTERNAL_ERROR: 500,
  SERVICE_UNAVAILABLE: 503,
} as const;

export type ErrorCode = keyof typeof errorStatus;

/** A refusal that the client is told about: code, one sentence, and what helps to mend it. */
export class ApiError extends Error {
  readonly code: ErrorCode;
  readonly details: object | null;
  /** Seconds after which another try makes sense. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: object; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = "ApiError";
    this.code = code;
    this.details = options.details ?? null;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get status(): number {
    return errorStatus[this.code];
  }
}
