import { generateKeyPairSync, sign, type KeyObject } from "node:crypto";
import { createServer, type Server } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CloudflareAccess } from "./cloudflare-access.ts";

const issuer = "https://team.example.com";
const audience = "aud-tag";
const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 });

let published: { kid: string; key: KeyObject }[];
let fetches: number;
let now: number;
let server: Server;
let access: CloudflareAccess;

beforeEach(async () => {
  published = [{ kid: "one", key: pair.publicKey }];
  fetches = 0;
  now = Date.now();
  server = createServer((_request, response) => {
    fetches += 1;
    response.end(
      JSON.stringify({
        keys: published.map(({ kid, key }) => ({ ...key.export({ format: "jwk" }), kid })),
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  access = new CloudflareAccess(
    { certificatesUrl: `http://127.0.0.1:${port}/certs`, audience, issuer },
    () => now,
  );
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

function token(
  changes: { header?: object; claims?: object; key?: KeyObject; algorithm?: string } = {},
): string {
  const seconds = Math.floor(now / 1000);
  const encode = (value: object): string =>
    Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${encode({ alg: "RS256", kid: "one", ...changes.header })}.${encode({
    iss: issuer,
    aud: [audience],
    exp: seconds + 60,
    nbf: seconds - 60,
    ...changes.claims,
  })}`;
  return `${text}.${sign("RSA-SHA256", Buffer.from(text), changes.key ?? pair.privateKey).toString("base64url")}`;
}

describe("an access token", () => {
  test("of the issuer for this audience is let through, and its certificate is kept", async () => {
    await access.check(token());
    await access.check(token({ claims: { aud: audience } }));
    expect(fetches).toBe(1);
  });

  test.each<[string, () => string | undefined]>([
    ["is missing", () => undefined],
    ["is garbage", () => "a.b.c"],
    ["is unsigned", () => token({ header: { alg: "none" } }).replace(/[^.]*$/, "")],
    ["claims another algorithm", () => token({ header: { alg: "HS256" } })],
    ["is signed by another key", () => token({ key: stranger.privateKey })],
    ["names an unknown certificate", () => token({ header: { kid: "two" } })],
    ["is for another audience", () => token({ claims: { aud: ["other"] } })],
    ["is from another issuer", () => token({ claims: { iss: "https://evil.example.com" } })],
    ["has expired", () => token({ claims: { exp: now / 1000 - 60 } })],
    ["never expires", () => token({ claims: { exp: undefined } })],
    ["is not yet valid", () => token({ claims: { nbf: now / 1000 + 60 } })],
    [
      "was changed after signing",
      () => {
        const [head, , signature] = token().split(".");
        const other = token({ claims: { email: "admin@company.com" } }).split(".")[1];
        return `${head}.${other}.${signature}`;
      },
    ],
  ])("that %s is refused", async (_what, make) => {
    await expect(access.check(make())).rejects.toMatchObject({ code: "ACCESS_TOKEN_REQUIRED" });
  });

  test("by a new certificate is let through once the certificates are fetched again", async () => {
    await access.check(token());
    published = [{ kid: "two", key: stranger.publicKey }];
    const renewed = (): string => token({ header: { kid: "two" }, key: stranger.privateKey });
    // Within ten seconds of a fetch an unknown name is refused without asking again.
    await expect(access.check(renewed())).rejects.toMatchObject({ code: "ACCESS_TOKEN_REQUIRED" });
    now += 11_000;
    await access.check(renewed());
    await expect(access.check(token())).rejects.toMatchObject({ code: "ACCESS_TOKEN_REQUIRED" });
    expect(fetches).toBe(2);
  });

  test("cannot be checked where the certificates cannot be had", async () => {
    await new Promise((resolve) => server.close(resolve));
    await expect(access.check(token())).rejects.toMatchObject({ code: "SERVICE_UNAVAILABLE" });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
});
