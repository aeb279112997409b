import { createHash, timingSafeEqual } from "node:crypto";
import type { Pool } from "pg";
import { keysByPrefix, type KeyRow } from "./queries/keys.ts";

const permissions = ["read:tasks", "write:tasks", "read:metrics", "admin"] as const;
export type Permission = (typeof permissions)[number];

/** A key as the API works with it; neither the key nor its hash is kept. */
export interface ApiKey {
  id: string;
  userId: string;
  permissions: readonly string[];
  perHour: number;
  perDay: number;
  allowedIps: readonly unknown[];
  allowedEndpoints: readonly unknown[];
  expiresAt: Date | null;
  isActive: boolean;
}

/** The document's defaults, for keys whose limit is null. */
const defaultPerHour = 1000;
const defaultPerDay = 10_000;

/** Longest time for which a key that was revoked or changed is still served as it was. */
const keyCacheMs = 10_000;
const keyCacheEntries = 10_000;

const keyShape = /^ctm_[0-9a-f]{64}$/;
const prefixLength = 20;

/** Finds presented keys, remembering each for `keyCacheMs`. */
export class KeyDirectory {
  readonly #pool: Pool;
  readonly #now: () => number;
  readonly #found = new Map<string, { key: ApiKey; until: number }>();
  readonly #running = new Map<string, Promise<ApiKey | undefined>>();

  constructor(pool: Pool, now: () => number = Date.now) {
    this.#pool = pool;
    this.#now = now;
  }

  /**
   * The key that was presented, whatever its state, or undefined when there is none such.
   *
   * @throws ConnectionLost when it has to ask the database and cannot
   */
  async find(presented: string): Promise<ApiKey | undefined> {
    // Refused here so that a flood of garbage costs the database nothing.
    if (!keyShape.test(presented)) return undefined;
    const hash = createHash("sha256").update(presented).digest("hex");
    const known = this.#found.get(hash);
    if (known !== undefined && known.until > this.#now()) return known.key;
    const running = this.#running.get(hash);
    if (running !== undefined) return await running;
    const lookup = this.#lookUp(presented.slice(0, prefixLength), hash).finally(() =>
      this.#running.delete(hash),
    );
    this.#running.set(hash, lookup);
    return await lookup;
  }

  async #lookUp(prefix: string, hash: string): Promise<ApiKey | undefined> {
    const askedAt = this.#now();
    const row = matching(await keysByPrefix(this.#pool, prefix), hash);
    this.#found.delete(hash);
    if (row === undefined) return undefined;
    const key: ApiKey = {
      id: row.id,
      userId: row.user_id,
      permissions: listOf(row.permissions).filter((entry) => typeof entry === "string"),
      perHour: row.rate_limit_per_hour ?? defaultPerHour,
      perDay: row.rate_limit_per_day ?? defaultPerDay,
      allowedIps: listOf(row.allowed_ips),
      allowedEndpoints: listOf(row.allowed_endpoints),
      expiresAt: row.expires_at,
      isActive: row.is_active === true,
    };
    // The oldest entry goes first: a Map keeps the order of insertion.
    const oldest = this.#found.keys().next();
    if (this.#found.size >= keyCacheEntries && !oldest.done) this.#found.delete(oldest.value);
    this.#found.set(hash, { key, until: askedAt + keyCacheMs });
    return key;
  }
}

const noHash = Buffer.alloc(64);

/** Compares with every candidate, and with a dummy where there is none, in constant time. */
function matching(candidates: readonly KeyRow[], hash: string): KeyRow | undefined {
  const wanted = Buffer.from(hash);
  let found: KeyRow | undefined;
  for (const candidate of candidates) {
    const stored = Buffer.from(candidate.key_hash);
    if (stored.length === wanted.length && timingSafeEqual(stored, wanted)) found = candidate;
  }
  if (candidates.length === 0) timingSafeEqual(noHash, wanted);
  return found;
}

/**
 * An absent list is empty, which allows everything; anything that is no list becomes one that
 * allows nothing, so that a mistyped restriction locks out rather than in.
 */
function listOf(value: unknown): readonly unknown[] {
  if (value === null) return [];
  return Array.isArray(value) ? value : [null];
}
