import { BlockList, isIP } from "node:net";
import { ApiError } from "./api-error.ts";
import type { ApiKey, Permission } from "./api-key.ts";

/** `any key` is for what every client may know; the rest name the permission they need. */
export type Access = Permission | "any key";

/** The key of a request, from `X-API-Key` or else `Authorization: Bearer`. */
export function presentedKey(headers: {
  "x-api-key"?: string | string[] | undefined;
  authorization?: string | undefined;
}): string {
  const header = headers["x-api-key"];
  const key =
    header === undefined
      ? /^bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1]
      : String(header).trim();
  if (key !== undefined && key !== "") return key;
  throw new ApiError(
    "MISSING_API_KEY",
    "Send an API key as X-API-Key: ctm_… or Authorization: Bearer ctm_….",
  );
}

/** Refuses a key that is unknown, switched off or past its time. */
export function checkKey(key: ApiKey | undefined, now: number): asserts key is ApiKey {
  if (key === undefined) throw new ApiError("INVALID_API_KEY", "This API key does not exist.");
  if (!key.isActive) throw new ApiError("INACTIVE_API_KEY", "This API key has been revoked.");
  if (key.expiresAt !== null && key.expiresAt.getTime() <= now) {
    throw new ApiError("EXPIRED_API_KEY", "This API key has expired.", {
      details: { expires_at: key.expiresAt.toISOString() },
    });
  }
}

/** Refuses addresses outside the key's list of addresses and CIDR ranges; no list allows all. */
export function checkAddress(key: ApiKey, address: string): void {
  if (key.allowedIps.length === 0) return;
  const family = isIP(address) === 6 ? "ipv6" : "ipv4";
  if (isIP(address) !== 0 && blockList(key.allowedIps).check(address, family)) return;
  throw new ApiError("IP_NOT_ALLOWED", "This API key may not be used from this address.", {
    details: { address },
  });
}

/** Refuses endpoints outside the key's list; no list allows all. See `allowsEndpoint`. */
export function checkEndpoint(key: ApiKey, method: string, route: string): void {
  if (key.allowedEndpoints.length === 0) return;
  if (key.allowedEndpoints.some((entry) => allowsEndpoint(entry, method, route))) return;
  throw new ApiError("ENDPOINT_NOT_ALLOWED", "This API key may not be used for this endpoint.", {
    details: { method, endpoint: route },
  });
}

export function checkPermission(key: ApiKey, access: Access): void {
  if (access === "any key") return;
  if (key.permissions.includes(access) || key.permissions.includes("admin")) return;
  throw new ApiError("INSUFFICIENT_PERMISSIONS", `This needs the permission ${access}.`, {
    details: { required: access },
  });
}

/**
 * An entry is an endpoint as the documentation writes it (`/api/database/tasks/{id}`), one ending
 * in `*` for all that begin so, either after a method and a space to allow only that method.
 * It is compared with the matched route, so no spelling of the path gets around it.
 */
function allowsEndpoint(entry: unknown, method: string, route: string): boolean {
  if (typeof entry !== "string") return false;
  const [, onlyMethod, path] = /^(?:([A-Z]+) +)?(\/\S*)$/.exec(entry) ?? [];
  if (path === undefined || (onlyMethod !== undefined && onlyMethod !== method)) return false;
  return path.endsWith("*") ? route.startsWith(path.slice(0, -1)) : route === path;
}

/** Entries that are no address and no range match nothing. */
function blockList(entries: readonly unknown[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [, address, bits] = /^([0-9a-fA-F.:]+)(?:\/(\d{1,3}))?$/.exec(String(entry)) ?? [];
    const family = isIP(address ?? "");
    if (address === undefined || family === 0) continue;
    const name = family === 6 ? "ipv6" : "ipv4";
    if (bits === undefined) list.addAddress(address, name);
    else if (Number(bits) <= (family === 6 ? 128 : 32)) {
      list.addSubnet(address, Number(bits), name);
    }
  }
  return list;
}
