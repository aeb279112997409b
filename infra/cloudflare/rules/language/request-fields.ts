import { CtmError } from "#system";
import type { EdgeRequest } from "../model.ts";
import { numericAddress } from "./addresses.ts";
import { bytesOf, bytesOfText, type ByteString } from "./bytes.ts";
import type { Evaluated } from "./function-values.ts";

/** The edge reads this much of a body (Enterprise); the rest is not searched. */
const inspectedBodyBytes = 131_072;

/** What the fields of the rules language are for a request, each worked out once. */
export class RequestFields {
  readonly #request: EdgeRequest;
  readonly #known = new Map<string, Evaluated>();

  constructor(request: EdgeRequest) {
    this.#request = request;
  }

  /** @throws CtmError `not-evaluated` for a field that a request of ours does not tell */
  get(name: string): Evaluated {
    return this.remember(name, () => {
      const read = readers.get(name);
      if (read === undefined) {
        throw new CtmError("not-evaluated", `the field ${name} is not evaluated here`, {
          next: "use a field of the request itself, or test the rule at Cloudflare",
        });
      }
      return read(this.#request);
    });
  }

  /** The value under this key, from `work` the first time. */
  remember(key: string, work: () => Evaluated): Evaluated {
    if (this.#known.has(key)) return this.#known.get(key);
    const value = work();
    this.#known.set(key, value);
    return value;
  }
}

type Reader = (request: EdgeRequest) => Evaluated;

const readers: ReadonlyMap<string, Reader> = new Map(
  Object.entries<Reader>({
    "http.cookie": ({ headers }) => headerText(headers, "cookie", "; "),
    "http.host": ({ host }) => bytesOfText(host),
    "http.referer": ({ headers }) => headerText(headers, "referer", ", "),
    "http.request.body.raw": ({ body }) => bytesOf(body).slice(0, inspectedBodyBytes),
    "http.request.body.size": ({ body }) => BigInt(bytesOf(body).length),
    "http.request.body.truncated": ({ body }) => bytesOf(body).length > inspectedBodyBytes,
    "http.request.full_uri": (request) => fullUri(request, normalisedPath(request.path)),
    "http.request.headers": ({ headers }) => headerMap(headers),
    "http.request.headers.names": ({ headers }) => [...headerMap(headers).keys()],
    "http.request.headers.values": ({ headers }) => [...headerMap(headers).values()].flat(),
    "http.request.method": ({ method }) => bytesOfText(method),
    "http.request.timestamp.msec": ({ time }) => BigInt(time % 1000),
    "http.request.timestamp.sec": ({ time }) => BigInt(Math.floor(time / 1000)),
    "http.request.uri": (request) => uri(request, normalisedPath(request.path)),
    "http.request.uri.args": ({ query }) => argumentMap(query),
    "http.request.uri.args.names": ({ query }) => argumentsOf(query).map(([name]) => name),
    "http.request.uri.args.values": ({ query }) => argumentsOf(query).map(([, value]) => value),
    "http.request.uri.path": ({ path }) => normalisedPath(path),
    "http.request.uri.query": ({ query }) => bytesOfText(query),
    "http.user_agent": ({ headers }) => headerText(headers, "user-agent", ", "),
    "http.x_forwarded_for": ({ headers }) => headerText(headers, "x-forwarded-for", ", "),
    "ip.geoip.asnum": ({ asn }) => BigInt(asn),
    "ip.geoip.country": ({ country }) => bytesOfText(country),
    "ip.src": ({ ip }) => numericAddress(ip),
    "ip.src.asnum": ({ asn }) => BigInt(asn),
    "ip.src.country": ({ country }) => bytesOfText(country),
    "raw.http.request.full_uri": (request) => fullUri(request, bytesOfText(request.path)),
    "raw.http.request.uri": (request) => uri(request, bytesOfText(request.path)),
    "raw.http.request.uri.path": ({ path }) => bytesOfText(path),
    "raw.http.request.uri.query": ({ query }) => bytesOfText(query),
    ssl: ({ scheme }) => scheme === "https",
  }),
);

function uri({ query }: EdgeRequest, path: ByteString): ByteString {
  return query === "" ? path : `${path}?${bytesOfText(query)}`;
}

function fullUri(request: EdgeRequest, path: ByteString): ByteString {
  return `${request.scheme}://${bytesOfText(request.host)}${uri(request, path)}`;
}

function headerMap(headers: EdgeRequest["headers"]): Map<ByteString, ByteString[]> {
  const map = new Map<ByteString, ByteString[]>();
  for (const [name, given] of Object.entries(headers)) {
    const key = bytesOfText(name.toLowerCase());
    const values = (typeof given === "string" ? [given] : given).map(bytesOfText);
    map.set(key, [...(map.get(key) ?? []), ...values]);
  }
  return map;
}

/** The fields that stand for one header are empty, not nil, where it is missing. */
function headerText(headers: EdgeRequest["headers"], name: string, separator: string): ByteString {
  return headerMap(headers).get(name)?.join(separator) ?? "";
}

/** Names and values as they were sent: nothing is decoded. */
function argumentsOf(query: string): [ByteString, ByteString][] {
  if (query === "") return [];
  return query.split("&").map((pair) => {
    const [name = "", ...value] = bytesOfText(pair).split("=");
    return [name, value.join("=")];
  });
}

function argumentMap(query: string): Map<ByteString, ByteString[]> {
  const map = new Map<ByteString, ByteString[]>();
  for (const [name, value] of argumentsOf(query)) map.set(name, [...(map.get(name) ?? []), value]);
  return map;
}

/**
 * Cloudflare's normalisation of paths, which is on in new zones: backslashes and repeated slashes
 * become one slash, unreserved characters are decoded, others are encoded, dot segments go.
 * https://developers.cloudflare.com/rules/normalization/how-it-works/
 */
export function normalisedPath(path: string): ByteString {
  const escaped = bytesOfText(path)
    .replaceAll(/[\\/]+/g, "/")
    .replaceAll(/%[0-9a-f]{2}/gi, (code) => {
      const character = String.fromCharCode(Number.parseInt(code.slice(1), 16));
      return /[A-Za-z0-9\-._~]/.test(character) ? character : code.toUpperCase();
    })
    .replaceAll(
      /[^A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]/g,
      (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
    );
  const kept: string[] = [];
  const segments = escaped.split("/").slice(1);
  for (const [index, segment] of segments.entries()) {
    const isLast = index === segments.length - 1;
    if (segment === "..") kept.pop();
    if (segment === "." || segment === "..") {
      if (isLast) kept.push("");
    } else kept.push(segment);
  }
  return `/${kept.join("/")}`;
}
