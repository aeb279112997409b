import { describe, expect, test } from "vitest";
import { ApiError } from "./api-error.ts";
import type { ApiKey } from "./api-key.ts";
import { checkAddress, checkEndpoint, checkPermission, presentedKey } from "./authorize.ts";

const key: ApiKey = {
  id: "1",
  userId: "u",
  permissions: [],
  perHour: 1,
  perDay: 1,
  allowedIps: [],
  allowedEndpoints: [],
  expiresAt: null,
  isActive: true,
};

/** The code of the refusal, or null where there is none. */
function codeOf(check: () => void): string | null {
  try {
    check();
    return null;
  } catch (error) {
    if (error instanceof ApiError) return error.code;
    throw error;
  }
}

describe("the presented key", () => {
  test.each([
    ["X-API-Key", { "x-api-key": "ctm_1" }, "ctm_1"],
    ["Bearer", { authorization: "Bearer ctm_1" }, "ctm_1"],
    ["bearer in small letters", { authorization: "bearer ctm_1" }, "ctm_1"],
    ["X-API-Key before Bearer", { "x-api-key": "ctm_1", authorization: "Bearer x" }, "ctm_1"],
  ])("comes from %s", (_what, headers, expected) => {
    expect(presentedKey(headers)).toBe(expected);
  });

  test.each([
    ["nothing", {}],
    ["an empty X-API-Key", { "x-api-key": " " }],
    ["another scheme", { authorization: "Basic ctm_1" }],
    ["Bearer alone", { authorization: "Bearer " }],
  ])("is missing with %s", (_what, headers) => {
    expect(() => presentedKey(headers)).toThrow(/Send an API key/);
  });
});

describe("allowed_ips", () => {
  test.each<[unknown, string, boolean]>([
    ["127.0.0.1", "127.0.0.1", true],
    ["127.0.0.1", "127.0.0.2", false],
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.1", false],
    ["0.0.0.0/0", "203.0.113.9", true],
    ["2001:db8::/32", "2001:db8:1::1", true],
    ["2001:db8::/32", "2001:db9::1", false],
    ["2001:db8::1", "2001:0db8:0:0::1", true],
    ["10.0.0.0/33", "10.0.0.1", false],
    ["10.0.0", "10.0.0.1", false],
    ["localhost", "127.0.0.1", false],
    ["", "127.0.0.1", false],
    [null, "127.0.0.1", false],
    [{ ip: "127.0.0.1" }, "127.0.0.1", false],
  ])("entry %j and address %s: %s", (entry, address, allowed) => {
    const code = codeOf(() => checkAddress({ ...key, allowedIps: [entry] }, address));
    expect(code).toBe(allowed ? null : "IP_NOT_ALLOWED");
  });

  test("without an entry allow every address", () => {
    expect(() => checkAddress(key, "203.0.113.9")).not.toThrow();
  });
});

describe("allowed_endpoints", () => {
  test.each<[unknown, string, string, boolean]>([
    ["/api/database/tasks", "GET", "/api/database/tasks", true],
    ["/api/database/tasks", "GET", "/api/database/tasks/{id}", false],
    ["/api/database/tasks*", "GET", "/api/database/tasks/{id}", true],
    ["/api/database/tasks/{id}", "GET", "/api/database/tasks/{id}", true],
    ["GET /api/database/tasks", "GET", "/api/database/tasks", true],
    ["GET /api/database/tasks", "POST", "/api/database/tasks", false],
    ["GET /api/*", "GET", "/api/database/health", true],
    ["/api/database/task", "GET", "/api/database/tasks", false],
    ["*", "GET", "/api/database/tasks", false],
    ["", "GET", "/api/database/tasks", false],
    [null, "GET", "/api/database/tasks", false],
  ])("entry %j for %s %s: %s", (entry, method, route, allowed) => {
    const code = codeOf(() => checkEndpoint({ ...key, allowedEndpoints: [entry] }, method, route));
    expect(code).toBe(allowed ? null : "ENDPOINT_NOT_ALLOWED");
  });
});

describe("permissions", () => {
  test.each<[string[], boolean]>([
    [["read:tasks"], true],
    [["admin"], true],
    [["write:tasks"], false],
    [["read:task"], false],
    [[], false],
  ])("%j for read:tasks: %s", (permissions, allowed) => {
    const code = codeOf(() => checkPermission({ ...key, permissions }, "read:tasks"));
    expect(code).toBe(allowed ? null : "INSUFFICIENT_PERMISSIONS");
  });
});
