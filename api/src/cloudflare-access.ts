import { createPublicKey, verify, type JsonWebKey, type KeyObject } from "node:crypto";
import { z } from "zod";
import { ApiError } from "./api-error.ts";
import type { Settings } from "./config.ts";

type AccessSettings = NonNullable<Settings["access"]>;

/** Certificates are fetched again after this time, or when a token names one that is not known. */
const certificatesMs = 3_600_000;
/** An unknown certificate is asked for at most so often: tokens come from outside. */
const refetchMs = 10_000;
const fetchTimeoutMs = 5_000;
/** Clocks may differ by so much, seconds. */
const leewaySeconds = 30;

const certificates = z.object({
  keys: z.array(z.looseObject({ kid: z.string(), kty: z.literal("RSA") })),
});
const header = z.object({ alg: z.literal("RS256"), kid: z.string() });
const claims = z.object({
  iss: z.string(),
  aud: z.union([z.string(), z.array(z.string())]),
  exp: z.number(),
  nbf: z.number().optional(),
});

/**
 * Proves that a request came through Cloudflare Access: without it, whoever finds a way around
 * the tunnel reaches the API, for the tunnel alone is the lock.
 */
export class CloudflareAccess {
  readonly #settings: AccessSettings;
  readonly #now: () => number;
  #keys = new Map<string, KeyObject>();
  #fetchedAt = -Infinity;
  #fetching: Promise<void> | undefined;

  constructor(settings: AccessSettings, now: () => number = Date.now) {
    this.#settings = settings;
    this.#now = now;
  }

  /**
   * Checks the token of the header `Cf-Access-Jwt-Assertion`.
   *
   * @throws ApiError ACCESS_TOKEN_REQUIRED, or SERVICE_UNAVAILABLE when the certificates cannot be had
   */
  async check(token: string | string[] | undefined): Promise<void> {
    const parts = typeof token === "string" ? token.split(".") : [];
    const [head = "", body = "", signature = ""] = parts;
    const named = header.safeParse(decode(head));
    if (parts.length !== 3 || !named.success) throw refused();
    const key = await this.#key(named.data.kid);
    const signed =
      key !== undefined &&
      verify(
        "RSA-SHA256",
        Buffer.from(`${head}.${body}`),
        key,
        Buffer.from(signature, "base64url"),
      );
    const claimed = claims.safeParse(decode(body));
    if (!signed || !claimed.success) throw refused();
    const { iss, aud, exp, nbf = 0 } = claimed.data;
    const seconds = this.#now() / 1000;
    const isFresh = exp + leewaySeconds > seconds && nbf - leewaySeconds < seconds;
    const isForUs = [aud].flat().includes(this.#settings.audience);
    if (iss !== this.#settings.issuer || !isForUs || !isFresh) throw refused();
  }

  async #key(kid: string): Promise<KeyObject | undefined> {
    const age = this.#now() - this.#fetchedAt;
    if (age > certificatesMs || (!this.#keys.has(kid) && age > refetchMs)) {
      this.#fetching ??= this.#fetch().finally(() => (this.#fetching = undefined));
      await this.#fetching;
    }
    return this.#keys.get(kid);
  }

  async #fetch(): Promise<void> {
    try {
      const response = await fetch(this.#settings.certificatesUrl, {
        signal: AbortSignal.timeout(fetchTimeoutMs),
      });
      const { keys } = certificates.parse(await response.json());
      this.#keys = new Map(
        keys.map((key) => [
          key.kid,
          createPublicKey({ key: key satisfies JsonWebKey, format: "jwk" }),
        ]),
      );
      this.#fetchedAt = this.#now();
    } catch (error) {
      // Keys that are known go on working while the certificates cannot be had.
      if (this.#keys.size > 0) {
        this.#fetchedAt = this.#now() - certificatesMs + refetchMs;
        return;
      }
      throw new ApiError("SERVICE_UNAVAILABLE", "The access certificates cannot be had.", {
        retryAfterSeconds: 5,
        cause: error,
      });
    }
  }
}

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString());
  } catch {
    return undefined;
  }
}

function refused(): ApiError {
  return new ApiError(
    "ACCESS_TOKEN_REQUIRED",
    "This API is reached through Cloudflare Access only: a valid Cf-Access-Jwt-Assertion is missing.",
  );
}
