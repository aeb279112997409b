import { maskAddress, type NumericAddress } from "./addresses.ts";
import { bytesOfText, textOfBytes, type ByteString } from "./bytes.ts";

/** What a field or function yields; undefined is the edge's nil: there is no such value. */
export type Evaluated =
  | boolean
  | bigint
  | ByteString
  | NumericAddress
  | readonly Evaluated[]
  | ReadonlyMap<ByteString, Evaluated>
  | undefined;

type Implementation = (given: readonly Evaluated[]) => Evaluated;

/** The functions that rules of our phases may call, as documented. Types were checked before. */
export const implementations: ReadonlyMap<string, Implementation> = new Map(
  Object.entries<Implementation>({
    any: ([values]) => listOf(values).includes(true),
    all: ([values]) => listOf(values).every((value) => value === true),
    cidr: ([address, bits4, bits6]) =>
      isAddress(address)
        ? maskAddress(address, Number(address.bits === 32 ? bits4 : bits6))
        : undefined,
    cidr6: ([address, bits6]) =>
      isAddress(address) && address.bits === 128 ? maskAddress(address, Number(bits6)) : address,
    concat: (given) =>
      given.some((value) => Array.isArray(value))
        ? given.flatMap(listOf)
        : given.map((value) => text(value) ?? "").join(""),
    decode_base64: ([source]) => of(source, decodeBase64),
    ends_with: ([source, end]) => of(source, (value) => value.endsWith(text(end) ?? "")),
    has_key: ([map, key]) => map instanceof Map && map.has(text(key) ?? ""),
    has_value: ([values, value]) => listOf(values).includes(value),
    join: ([values, separator]) => listOf(values).map(text).join(text(separator)),
    len: ([value]) =>
      typeof value === "string" || Array.isArray(value) ? BigInt(value.length) : undefined,
    lookup_json_integer: ([json, ...keys]) => {
      const found = lookUp(json, keys);
      return typeof found === "number" && Number.isInteger(found) ? BigInt(found) : undefined;
    },
    lookup_json_string: ([json, ...keys]) => {
      const found = lookUp(json, keys);
      return typeof found === "string" ? bytesOfText(found) : undefined;
    },
    lower: ([source]) => of(source, lower),
    remove_bytes: ([source, removed]) =>
      of(source, (value) =>
        value.replaceAll(/[^]/g, (byte) => (text(removed)?.includes(byte) === true ? "" : byte)),
      ),
    starts_with: ([source, start]) => of(source, (value) => value.startsWith(text(start) ?? "")),
    substring: ([source, start, end]) =>
      of(source, (value) =>
        value.slice(Number(start), end === undefined ? undefined : Number(end)),
      ),
    upper: ([source]) =>
      of(source, (value) => value.replaceAll(/[a-z]+/g, (letters) => letters.toUpperCase())),
    url_decode: ([source, options]) => of(source, (value) => urlDecode(value, text(options) ?? "")),
  }),
);

function of(value: Evaluated, change: (text: ByteString) => Evaluated): Evaluated {
  return typeof value === "string" ? change(value) : undefined;
}

function text(value: Evaluated): ByteString | undefined {
  return typeof value === "string" ? value : undefined;
}

function isAddress(value: Evaluated): value is NumericAddress {
  return typeof value === "object" && "bits" in value;
}

export function listOf(value: Evaluated): readonly Evaluated[] {
  return Array.isArray(value) ? value : [];
}

/** ASCII letters only: other bytes stay. */
function lower(value: ByteString): ByteString {
  return value.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Undefined for what is no Base64, with or without its padding. */
function decodeBase64(value: ByteString): ByteString | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined;
  return Buffer.from(value, "base64").toString("latin1");
}

/** Decodes once, or with `r` until nothing changes; with `u` also %uXXXX, to UTF-8. */
function urlDecode(value: ByteString, options: string): ByteString {
  const once = (encoded: ByteString): ByteString =>
    encoded.replaceAll(/\+|%u(?:[0-9a-f]{4}(?:%u[0-9a-f]{4})*)|%[0-9a-f]{2}/gi, (code) => {
      if (code === "+") return " ";
      if (!/^%u/i.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
      if (!options.includes("u")) return code;
      const units = code.slice(2).split(/%u/i);
      return bytesOfText(
        String.fromCharCode(...units.map((unit) => Number.parseInt(unit, 16))).toWellFormed(),
      );
    });
  let decoded = once(value);
  if (!options.includes("r")) return decoded;
  for (let previous = value; decoded !== previous;) {
    previous = decoded;
    decoded = once(decoded);
  }
  return decoded;
}

function lookUp(json: Evaluated, keys: readonly Evaluated[]): unknown {
  if (typeof json !== "string") return undefined;
  let found: unknown;
  try {
    found = JSON.parse(textOfBytes(json) ?? "");
  } catch {
    return undefined;
  }
  for (const key of keys) {
    if (typeof found !== "object" || found === null) return undefined;
    const name = typeof key === "bigint" ? Number(key) : textOfBytes(text(key) ?? "");
    if (name === undefined || Array.isArray(found) !== (typeof name === "number")) return undefined;
    found = Object.hasOwn(found, name) ? Reflect.get(found, name) : undefined;
  }
  return found;
}
