import { describe, expect, test } from "vitest";
import { redactBody, redactHeaders, redactText } from "./redact.ts";

const key = `ctm_${"0123456789abcdef".repeat(4)}`;

describe("what the access log keeps", () => {
  test.each([
    ["a key", key],
    ["a key in a sentence", `use ${key}, please`],
    ["a key in capitals", key.toUpperCase()],
    ["a key cut off", key.slice(0, 30)],
  ])("of a text with %s is everything but the key", (_what, text) => {
    const kept = redactText(text);
    expect(kept).not.toContain("0123456789");
    expect(kept.toLowerCase()).toContain("ctm_[redacted]");
  });

  test("of headers is a short list, without keys", () => {
    const kept = redactHeaders({
      host: "api",
      "x-api-key": key,
      authorization: `Bearer ${key}`,
      cookie: "session=1",
      "cf-access-jwt-assertion": "ey.ey.x",
      "x-request-id": key,
    });
    expect(kept).toEqual({ host: "api", "x-request-id": "ctm_[redacted]" });
  });

  test("of a body is everything but values of secret names and keys", () => {
    const kept = redactBody({
      title: "Rotate",
      description: `old key ${key}`,
      metadata: { dbPassword: "hunter2", api_key: key, list: [{ accessToken: "t" }], [key]: 1 },
      sql: "SELECT $1",
      params: ["private"],
    });
    expect(kept).toEqual({
      title: "Rotate",
      description: "old key ctm_[redacted]",
      metadata: {
        dbPassword: "[redacted]",
        api_key: "[redacted]",
        list: [{ accessToken: "[redacted]" }],
        "ctm_[redacted]": 1,
      },
      sql: "SELECT $1",
      params: "[redacted]",
    });
  });

  test("of a long body is its size", () => {
    expect(redactBody({ description: "x".repeat(20_000) })).toEqual({
      omitted: "too long",
      characters: 20_018,
    });
  });

  test("of a text is what PostgreSQL can store", () => {
    expect(redactText("a\0b\ud83dc")).toBe("ab�c");
  });
});
