import { z } from "zod";
import { parseJson } from "#system";
import type { EdgeRequest } from "./model.ts";

/** A line of the API's log about an answered request (api/src/server.ts). */
const logLine = z.object({
  time: z.iso.datetime(),
  method: z.string(),
  endpoint: z.string(),
  milliseconds: z.number().default(0),
  address: z.string(),
});

/** A row of api_access_logs, as JSON. */
const logRow = z.object({
  created_at: z.string().refine((time) => !Number.isNaN(Date.parse(time))),
  method: z.string(),
  endpoint: z.string(),
  ip_address: z.string(),
});

/** What a log tells of the requests in it. */
export interface AccessLog {
  requests: EdgeRequest[];
  /** Lines that are about no answered request, or that cannot be read. */
  ignoredLines: number;
}

/**
 * Reads an access log of the API: JSON lines, either its own log or rows of api_access_logs
 * (`select to_jsonb(l) from api_access_logs l`). A log knows no query strings, headers or bodies:
 * those of the requests are empty.
 *
 * @param hostname under which the requests were sent
 */
export function readAccessLog(text: string, hostname: string): AccessLog {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const requests = lines.flatMap((line) => {
    const known = requestOfLine(line);
    if (known === undefined) return [];
    return [
      {
        ...known,
        host: hostname,
        query: "",
        headers: {},
        body: "",
        country: "XX",
        asn: 0,
        scheme: "https" as const,
      },
    ];
  });
  return { requests, ignoredLines: lines.length - requests.length };
}

function requestOfLine(
  line: string,
): Pick<EdgeRequest, "method" | "path" | "ip" | "time"> | undefined {
  const value = parseJson(line);
  const own = logLine.safeParse(value);
  if (own.success) {
    const { method, endpoint, address, time, milliseconds } = own.data;
    // The line was written when the answer was.
    return { method, path: endpoint, ip: address, time: Date.parse(time) - milliseconds };
  }
  const row = logRow.safeParse(value);
  if (!row.success) return undefined;
  const { method, endpoint, ip_address, created_at } = row.data;
  // PostgreSQL writes a single address as a network of one.
  const ip = ip_address.replace(/\/(32|128)$/, "");
  return { method, path: endpoint, ip, time: Date.parse(created_at) };
}
