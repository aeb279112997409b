import { expect, test } from "vitest";
import { Unreadable } from "../parameters.ts";
import { addressRange, duration, endpoint, expiry, keyReference } from "./parameters.ts";

test.each([
  [duration, "90", '"90" is no duration such as 30m, 12h, 90d or 4w'],
  [duration, "0d", '"0d" is no duration such as 30m, 12h, 90d or 4w'],
  [duration, "-1d", '"-1d" is no duration such as 30m, 12h, 90d or 4w'],
  [duration, "1y", '"1y" is no duration such as 30m, 12h, 90d or 4w'],
  [expiry, "soon", noExpiry("soon")],
  [expiry, "2031-03-02", noExpiry("2031-03-02")],
  [expiry, "2031-03-02T02:00:00", noExpiry("2031-03-02T02:00:00")],
  [expiry, "2031-13-02T02:00:00Z", noExpiry("2031-13-02T02:00:00Z")],
  [expiry, "2021-03-02T02:00:00Z", '"2021-03-02T02:00:00Z" is over already'],
  [addressRange, "10.0.0", '"10.0.0" is no IP address and no range such as 10.0.0.0/8'],
  [addressRange, "10.0.0.0/33", '"10.0.0.0/33" is no IP address and no range such as 10.0.0.0/8'],
  [addressRange, "::1/129", '"::1/129" is no IP address and no range such as 10.0.0.0/8'],
  [addressRange, "localhost", '"localhost" is no IP address and no range such as 10.0.0.0/8'],
  [endpoint, "tasks", noEndpoint("tasks")],
  [endpoint, "FETCH /api", noEndpoint("FETCH /api")],
  [endpoint, "/api/*/tasks", noEndpoint("/api/*/tasks")],
  [keyReference, "ci", '"ci" is no id of a key and no prefix such as ctm_0123456789abcdef'],
  [
    keyReference,
    `ctm_${"ab".repeat(32)}`,
    "is a whole key, and command lines can be seen by others: give its id, or its first 20 characters",
  ],
])("%o refuses %s", (read: (given: string) => unknown, given, expected) => {
  expect(() => read(given)).toThrow(new Unreadable(expected));
});

function noExpiry(given: string): string {
  return `"${given}" is not never, a duration such as 90d, or a time with its zone such as 2031-03-02T02:00:00Z`;
}

function noEndpoint(given: string): string {
  return `"${given}" is no endpoint such as /api/database/tasks, "GET /api/database/tasks/{id}" or /api/database/*`;
}

test.each([
  [duration, "30m", 1_800_000],
  [duration, "4w", 2_419_200_000],
  [expiry, "never", { never: true }],
  [expiry, "90d", { afterMs: 7_776_000_000 }],
  [expiry, "2131-03-02T02:00:00+02:00", { at: new Date("2131-03-02T00:00:00Z") }],
  [addressRange, "10.0.0.0/8", "10.0.0.0/8"],
  [addressRange, "fd00::/8", "fd00::/8"],
  [endpoint, "/api/database/*", "/api/database/*"],
  [endpoint, "GET /api/database/tasks/{id}", "GET /api/database/tasks/{id}"],
  [keyReference, "CTM_0123456789ABCDEF".toLowerCase(), "ctm_0123456789abcdef"],
])("%o reads %s", (read: (given: string) => unknown, given, expected) => {
  expect(read(given)).toEqual(expected);
});
