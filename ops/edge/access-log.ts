import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { z } from "zod";
import { CtmError, isMissing, messageOf, systemErrorCode } from "#system";

/** A request as an access log knows it: neither its query, nor its headers or body. */
export interface LoggedRequest {
  /** Milliseconds since 1970. */
  time: number;
  method: string;
  path: string;
  /** Address of the client. */
  address: string;
}

export interface AccessLog {
  /** In the order of their times. */
  requests: LoggedRequest[];
  /** Lines that tell of no request, such as those of the start. */
  otherLines: number;
}

/** A line of the API's own log. */
const ownLine = z
  .looseObject({
    time: z.iso.datetime(),
    method: z.string(),
    endpoint: z.string(),
    address: z.string(),
  })
  .transform(({ time, method, endpoint, address }) => ({ time, method, path: endpoint, address }));

/** A row of api_access_logs, as `row_to_json` writes it. */
const row = z
  .looseObject({
    created_at: z.iso.datetime({ offset: true }),
    method: z.string(),
    endpoint: z.string(),
    ip_address: z.string(),
  })
  .transform(({ created_at: time, method, endpoint, ip_address: address }) => ({
    time,
    method,
    path: endpoint,
    address,
  }));

/** JSON lines of anything else, such as Cloudflare's Logpush of http_requests. */
const logpush = z
  .looseObject({
    EdgeStartTimestamp: z.union([z.string(), z.number()]),
    ClientRequestMethod: z.string(),
    ClientRequestPath: z.string(),
    ClientIP: z.string(),
  })
  .transform((line) => ({
    time: line.EdgeStartTimestamp,
    method: line.ClientRequestMethod,
    path: line.ClientRequestPath,
    address: line.ClientIP,
  }));

const anyLine = z.union([ownLine, row, logpush]);

/**
 * Reads JSON lines: the API's own log, rows of api_access_logs, or Cloudflare's Logpush.
 *
 * @throws CtmError `no-log`, `no-permission`, `log-unreadable` when no line tells of a request
 */
export async function readAccessLog(path: string, signal: AbortSignal): Promise<AccessLog> {
  const requests: LoggedRequest[] = [];
  let otherLines = 0;
  try {
    const stream = createReadStream(path, { encoding: "utf8", signal });
    for await (const text of createInterface({ input: stream, crlfDelay: Infinity })) {
      const request = requestOf(text);
      if (request === undefined) otherLines += text.trim() === "" ? 0 : 1;
      else requests.push(request);
    }
  } catch (error) {
    throw unreadable(path, error);
  }
  if (requests.length === 0 && otherLines > 0) {
    throw new CtmError(
      "log-unreadable",
      `none of the ${otherLines} lines of ${path} tells of a request`,
      { next: "ctm edge simulate --help says which lines are read", exitCode: 2 },
    );
  }
  // The API writes a line when it has answered: slow requests come later than they began.
  requests.sort((one, other) => one.time - other.time);
  return { requests, otherLines };
}

function requestOf(text: string): LoggedRequest | undefined {
  const line = anyLine.safeParse(parse(text));
  if (!line.success) return undefined;
  const { time: written, ...request } = line.data;
  const time = timeOf(written);
  return Number.isFinite(time) ? { ...request, time } : undefined;
}

/** RFC 3339, or Logpush's seconds or nanoseconds since 1970. */
function timeOf(written: string | number): number {
  if (typeof written === "string") return Date.parse(written);
  return Math.round(written > 1e15 ? written / 1e6 : written * 1000);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function unreadable(path: string, error: unknown): CtmError {
  if (isMissing(error)) {
    return new CtmError("no-log", `${path} does not exist`, { next: "ctm logs", exitCode: 2 });
  }
  if (systemErrorCode(error) === "EACCES") {
    return new CtmError("no-permission", `${path} cannot be read by this user`, {
      next: "run as root",
    });
  }
  return new CtmError("log-unreadable", `${path}: ${messageOf(error)}`, { cause: error });
}
