import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CtmError } from "#system";
import { readConfiguration, type ApiConfiguration } from "./config.ts";

const good: ApiConfiguration = {
  listen: { host: "127.0.0.1", port: 8080 },
  admin: { host: "127.0.0.1", port: 8081 },
  database: {
    name: "taskmaster",
    authority: "/etc/ctm/ca.pem",
    primary: { host: "127.0.0.1", port: 5000 },
    readonly: { host: "127.0.0.1", port: 5001 },
    user: "ctm_api",
    passwordFile: "/etc/ctm/ctm_api",
  },
  query: { user: "ctm_query", passwordFile: "/etc/ctm/ctm_query" },
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-api-config-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function failure(content: unknown): Promise<CtmError> {
  const path = join(folder, "api.json");
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  const error: unknown = await readConfiguration(path).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CtmError)) throw new Error("the configuration was accepted");
  return error;
}

describe("the configuration file", () => {
  test("gets the documented pools and limits where it names none", async () => {
    const path = join(folder, "good.json");
    await writeFile(path, JSON.stringify(good));
    const settings = await readConfiguration(path);
    expect(settings.pools).toEqual({
      primary: { min: 2, max: 10 },
      readonly: { min: 1, max: 5 },
      priority: { min: 1, max: 3 },
      background: { min: 1, max: 2 },
    });
    expect(settings.http.requestTimeoutMs).toBe(30_000);
    expect(settings.environment).toBe("production");
  });

  test.each<[string, unknown, RegExp]>([
    ["an unknown key", { ...good, lisen: 1 }, /: lisen: unknown key$/],
    [
      "an unknown key inside",
      { ...good, query: { ...good.query, pasword: "x" } },
      /: query\.pasword: unknown key$/,
    ],
    [
      "a wrong type",
      { ...good, listen: { host: "127.0.0.1", port: "8080" } },
      /: listen\.port: .*expected number/,
    ],
    ["a missing key", { ...good, admin: undefined }, /: admin: /],
    [
      "a port out of range",
      { ...good, admin: { host: "127.0.0.1", port: 65_536 } },
      /: admin\.port: /,
    ],
    [
      "a relative path",
      { ...good, database: { ...good.database, authority: "ca.pem" } },
      /: database\.authority: must be an absolute path/,
    ],
    [
      "a pool upside down",
      { ...good, pools: { primary: { min: 5, max: 2 } } },
      /: pools\.primary: min must not be above max/,
    ],
    ["a proxy that is no address", { ...good, trustedProxies: ["all"] }, /: trustedProxies\.0: /],
    ["no JSON", "{", /is not JSON/],
    ["a list", [], /: the document: /],
  ])("%s is one error that names it", async (_what, content, message) => {
    const error = await failure(content);
    expect(error.code).toBe("bad-configuration");
    expect(error.exitCode).toBe(2);
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("\n");
  });

  test("a file that is not there is said so", async () => {
    await expect(readConfiguration(join(folder, "none.json"))).rejects.toThrow(
      /cannot read .*none/,
    );
  });
});
