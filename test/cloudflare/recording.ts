import { readFileSync } from "node:fs";
import { join } from "node:path";

/** One call of the official provider, as it was recorded. */
export interface RecordedCall {
  /** The SDK's name of the resource type. */
  type: string;
  /** "cloudflare:index/dnsRecord:DnsRecord" */
  token: string;
  operation: string;
  method: string;
  /** With the recording's ids in it. */
  path: string;
  /** What the example is of. */
  for: string;
  body: unknown;
  status: number;
  answer: unknown;
  headers: Record<string, string>;
}

interface Recording {
  resources: Record<
    string,
    {
      type: string;
      replacedByChangeOf: string[];
      operations: Record<string, RecordedOperation>;
    }
  >;
}

interface RecordedOperation {
  method?: string;
  path?: string;
  examples?: {
    for?: string;
    body: unknown;
    status: number;
    answer?: unknown;
    headers?: Record<string, string>;
  }[];
}

const recording = JSON.parse(
  readFileSync(join(import.meta.dirname, "recording.json"), "utf8"),
) as Recording;

/** The account and zone of the recording. */
export const recordedAccount = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1";
export const recordedZone = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb2";

/** Every recorded call, with the names in its path that tests need filled in. */
export function recordedCalls(): RecordedCall[] {
  return Object.entries(recording.resources).flatMap(([type, { type: token, operations }]) =>
    Object.entries(operations).flatMap(([operation, { method, path, examples }]) => {
      if (method === undefined || path === undefined) return [];
      return (examples ?? []).map((example) => ({
        type,
        token,
        operation,
        method,
        path: path
          .replace("{account_id}", recordedAccount)
          .replace("{zone_id}", recordedZone)
          .replace("{setting_id}", example.for ?? "")
          .replaceAll(/[{}]/g, ""),
        for: example.for ?? "",
        body: example.body,
        status: example.status,
        answer: example.answer,
        headers: example.headers ?? {},
      }));
    }),
  );
}
