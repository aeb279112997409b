import type { EdgeRequest } from "../model.ts";

/** A key of the right shape; no such key exists anywhere. */
export const exampleKey = `ctm_${"0123456789abcdef".repeat(4)}`;

/** What a client of the API sends; each test changes what it is about. */
export function requestOf(changes: Partial<EdgeRequest> = {}): EdgeRequest {
  return {
    method: "GET",
    host: "api.example.com",
    path: "/api/database/tasks",
    query: "",
    headers: { "x-api-key": exampleKey, "user-agent": "ctm-client/1.0" },
    body: "",
    ip: "203.0.113.7",
    country: "DE",
    asn: 64_500,
    scheme: "https",
    time: Date.UTC(2031, 0, 1),
    ...changes,
  };
}
