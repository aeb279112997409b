import { isIP } from "node:net";
import { Unreadable } from "../parameters.ts";

/** The document's permission types. */
export const permissions = ["read:tasks", "write:tasks", "read:metrics", "admin"] as const;

/** When a key ends: never, after a time from now, or at a moment. */
export type Expiry = { never: true } | { afterMs: number } | { at: Date };

const units: Readonly<Record<string, number>> = {
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
};

/** `90d`, `12h`, `30m`, `4w`: milliseconds. */
export function duration(given: string): number {
  const [, count, unit] = /^(\d{1,6})([mhdw])$/.exec(given) ?? [];
  const ms = Number(count) * (units[unit ?? ""] ?? Number.NaN);
  if (!(ms > 0)) {
    throw new Unreadable(`"${given}" is no duration such as 30m, 12h, 90d or 4w`);
  }
  return ms;
}

/** `never`, a duration, or a time with its zone that is still to come. */
export function expiry(given: string): Expiry {
  if (given === "never") return { never: true };
  if (/^\d+[a-z]$/.test(given)) return { afterMs: duration(given) };
  // A time without a zone would mean another moment on another machine.
  const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/.test(given)
    ? new Date(given)
    : new Date(Number.NaN);
  if (Number.isNaN(time.getTime())) {
    throw new Unreadable(
      `"${given}" is not never, a duration such as 90d, or a time with its zone such as 2031-03-02T02:00:00Z`,
    );
  }
  if (time.getTime() <= Date.now()) throw new Unreadable(`"${given}" is over already`);
  return { at: time };
}

/** An IPv4 or IPv6 address, or a range of them: `10.0.0.0/8`. */
export function addressRange(given: string): string {
  const [, address, bits] = /^([0-9a-fA-F.:]+)(?:\/(\d{1,3}))?$/.exec(given) ?? [];
  const family = isIP(address ?? "");
  if (family === 0 || (bits !== undefined && Number(bits) > (family === 6 ? 128 : 32))) {
    throw new Unreadable(`"${given}" is no IP address and no range such as 10.0.0.0/8`);
  }
  return given;
}

/** `/api/database/tasks/{id}` or `/api/database/*`, alone or behind a method: what the API matches. */
export function endpoint(given: string): string {
  if (/^((GET|POST|PUT|PATCH|DELETE|HEAD) )?\/[^\s*]*\*?$/.test(given)) return given;
  throw new Unreadable(
    `"${given}" is no endpoint such as /api/database/tasks, "GET /api/database/tasks/{id}" or /api/database/*`,
  );
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** A key's id, or its prefix; never the key itself, which a command line would show to everybody. */
export function keyReference(given: string): string {
  if (/^ctm_[0-9a-f]{64}$/.test(given)) {
    throw new Unreadable(
      `is a whole key, and command lines can be seen by others: give its id, or its first 20 characters`,
    );
  }
  if (uuid.test(given) || /^ctm_[0-9a-f]{16}$/.test(given)) return given.toLowerCase();
  throw new Unreadable(`"${given}" is no id of a key and no prefix such as ctm_0123456789abcdef`);
}
