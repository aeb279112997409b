import {
  and,
  any,
  argument,
  bytes,
  compares,
  each,
  equals,
  length,
  matches,
  not,
  oneOf,
  or,
  startsWith,
  wildcard,
  type Condition,
} from "./language/build.ts";

/** What a parameter of the query may hold. */
type Parameter = "number" | "text" | readonly string[];

interface Endpoint {
  method: "GET" | "POST" | "PATCH";
  /** As the documentation writes it; `{id}` is a UUID. */
  path: string;
  query?: Readonly<Record<string, Parameter>>;
}

/**
 * `http.host` is the Host header as the client sent it: in either case, and with a port where the
 * client names one, which the tunnel serves all the same.
 */
export function isForHost(hostname: string): Condition {
  const host = bytes("http.host");
  return or(wildcard(host, hostname), wildcard(host, `${hostname}:*`));
}

/** All that the API answers; a test holds it to api/openapi.json. */
export const endpoints: readonly Endpoint[] = [
  { method: "GET", path: "/api/database/health" },
  { method: "GET", path: "/api/database/metrics" },
  {
    method: "GET",
    path: "/api/database/tasks",
    query: {
      page: "number",
      limit: "number",
      status: ["pending", "in_progress", "completed", "failed", "cancelled"],
      priority: "number",
      assigned_to: "text",
      search: "text",
      sort: ["newest", "queue"],
    },
  },
  { method: "POST", path: "/api/database/tasks" },
  { method: "GET", path: "/api/database/tasks/{id}" },
  { method: "PATCH", path: "/api/database/tasks/{id}/status" },
  { method: "POST", path: "/api/database/query" },
];

/**
 * The path as it was sent: the API's paths need no encoding, so whatever hides in one is not the
 * API's.
 */
const path = bytes("raw.http.request.uri.path");
const method = bytes("http.request.method");
const query = bytes("http.request.uri.query");

const uuid = "[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}";
const uuidLength = 36;

/**
 * Whether a request is for one of the API's endpoints, with parameters that it has. Without
 * patterns an identifier is known by its length and dashes, and parameters by their names.
 */
export function isForTheApi(patterns: boolean): Condition {
  const [first, ...others] = endpoints.map((endpoint) => isFor(endpoint, patterns));
  if (first === undefined) throw new Error("there are no endpoints");
  return or(first, ...others);
}

function isFor(endpoint: Endpoint, patterns: boolean): Condition {
  return and(
    equals(method, endpoint.method),
    isPath(endpoint.path, patterns),
    hasParameters(endpoint.query, patterns),
  );
}

function isPath(wanted: string, patterns: boolean): Condition {
  const [before = "", after] = wanted.split("{id}");
  if (after === undefined) return equals(path, wanted);
  if (patterns) return matches(path, `^${before}${uuid}${after}$`);
  return and(
    wildcard(path, `${before}*-*-*-*-*${after}`),
    compares(length(path), "eq", before.length + uuidLength + after.length),
  );
}

function hasParameters(parameters: Endpoint["query"], patterns: boolean): Condition {
  if (parameters === undefined) return equals(query, "");
  const names = Object.keys(parameters);
  const known = not(any(not(oneOf(each("http.request.uri.args.names"), names))));
  if (!patterns) return or(equals(query, ""), known);
  const wrong = Object.entries(parameters).flatMap(([name, kind]) => {
    if (kind === "text") return [];
    const value = argument(name);
    return [any(kind === "number" ? matches(value, "[^0-9]") : not(oneOf(value, kind)))];
  });
  return or(equals(query, ""), and(known, ...wrong.map((one) => not(one))));
}

/** What Cloudflare itself answers below the API's name, such as the end of a login. */
export const isCloudflaresOwn: Condition = startsWith(bytes("http.request.uri.path"), "/cdn-cgi/");
