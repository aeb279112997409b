import { randomBytes, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  collections,
  completeRuleset,
  hexId,
  newId,
  Refusal,
  type Collection,
  type Item,
  type World,
} from "./collections.ts";
import { ApiDescription } from "./openapi.ts";
import { recordedAccount, recordedZone } from "./recording.ts";

/** One request that arrived. */
export interface Call {
  method: string;
  /** Below /client/v4, without the query. */
  path: string;
  query: Record<string, string>;
  body: unknown;
  headers: Record<string, string>;
  status: number;
}

export interface EmulatorOptions {
  accountId?: string;
  zoneId?: string;
  zoneName?: string;
}

const description = new ApiDescription();

/** Settings of a zone as Cloudflare gives them to a new one. */
const newZone: Record<string, unknown> = {
  ssl: "full",
  min_tls_version: "1.0",
  always_use_https: "off",
  security_header: {
    strict_transport_security: {
      enabled: false,
      max_age: 0,
      include_subdomains: false,
      preload: false,
      nosniff: false,
    },
  },
};

interface Answer {
  status: number;
  result?: unknown;
  info?: Item;
}

/** What arrived, taken apart once. */
interface Request extends Omit<Call, "status"> {
  /** "accounts", "zones" or "user". */
  root: string;
  /** Path below the account or zone. */
  rest: string;
}

/**
 * Cloudflare's API of one account and zone, as far as this project calls it: with state, its ids,
 * its refusals, its pages and the permissions of its tokens. A body that the published description
 * does not allow is refused and remembered in `invalid`, which tests expect to be empty.
 *
 * What it cannot know: which of these answers the real API words otherwise today.
 */
export class CloudflareEmulator {
  readonly accountId: string;
  readonly zoneId: string;
  readonly calls: Call[] = [];
  /** Requests that are not as Cloudflare describes them. */
  readonly invalid: string[] = [];
  readonly #zoneName: string;
  readonly #items = new Map<string, Map<string, Item>>();
  /** By path: what belongs to an object and has no id of its own. */
  readonly #documents = new Map<string, unknown>();
  /** Permission groups by token; null allows everything. */
  readonly #tokens = new Map<string, ReadonlySet<string> | null>();
  readonly #server: Server;
  #silent: { patterns: RegExp[]; reached: () => void } | undefined;

  private constructor(options: EmulatorOptions) {
    this.accountId = options.accountId ?? recordedAccount;
    this.zoneId = options.zoneId ?? recordedZone;
    this.#zoneName = options.zoneName ?? "example.com";
    for (const [id, value] of Object.entries(newZone)) {
      this.#documents.set(`/settings/${id}`, { id, value, editable: true, modified_on: null });
    }
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(options: EmulatorOptions = {}): Promise<CloudflareEmulator> {
    const emulator = new CloudflareEmulator(options);
    await new Promise<void>((resolve, reject) => {
      emulator.#server.once("error", reject).listen(0, "127.0.0.1", resolve);
    });
    return emulator;
  }

  /** As `ctm:cloudflare.baseUrl` takes it. */
  get baseUrl(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}/client/v4`;
  }

  /** A new token, with these permission groups, or all. */
  token(scopes?: readonly string[]): string {
    const token = randomBytes(30).toString("base64url");
    this.#tokens.set(token, scopes === undefined ? null : new Set(scopes));
    return token;
  }

  /** What there is of a kind now. */
  items(kind: string): Item[] {
    return [...(this.#items.get(kind)?.values() ?? [])];
  }

  /** Value of a zone setting, or what belongs to an object: "/r2/buckets/NAME/lock". */
  document(path: string): unknown {
    return this.#documents.get(path);
  }

  /** Changes an object behind the back of whoever made it. */
  change(kind: string, change: (item: Item) => Item): void {
    for (const [id, item] of this.#items.get(kind) ?? []) {
      this.#items.get(kind)?.set(id, change(item));
    }
  }

  changeDocument(path: string, change: (value: unknown) => unknown): void {
    this.#documents.set(path, change(this.#documents.get(path)));
  }

  /** Removes every object of a kind, as a person at the dashboard would. */
  remove(kind: string): void {
    this.#items.get(kind)?.clear();
  }

  /**
   * Does what the first request of each pattern asks, and never answers it: what a client that is
   * killed meanwhile does not learn of. A pattern sees "POST /zones/ID/dns_records {…body…}".
   * Resolves when all of them arrived.
   */
  silence(...patterns: RegExp[]): Promise<void> {
    return new Promise((resolve) => {
      this.#silent = { patterns, reached: resolve };
    });
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = await read(incoming);
    let answer: Answer;
    let refusal: Refusal | undefined;
    try {
      this.#authorize(request);
      this.#checkBody(request);
      answer = this.#answer(request);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refusal = error;
      answer = { status: error.status, result: null };
    }
    const { method, path, query, body, headers } = request;
    this.calls.push({ method, path, query, body, headers, status: answer.status });
    if (this.#isSilent(request)) return;
    response.writeHead(answer.status, { "content-type": "application/json" });
    if (answer.status === 204) {
      response.end();
      return;
    }
    response.end(
      JSON.stringify({
        success: refusal === undefined,
        errors: refusal === undefined ? [] : [{ code: refusal.code, message: refusal.message }],
        messages: [],
        result: answer.result ?? null,
        ...(answer.info === undefined ? {} : { result_info: answer.info }),
      }),
    );
  }

  #isSilent({ method, path, body }: Request): boolean {
    const silent = this.#silent;
    if (silent === undefined) return false;
    const line = `${method} ${path} ${JSON.stringify(body) ?? ""}`;
    const index = silent.patterns.findIndex((pattern) => pattern.test(line));
    if (index === -1) return false;
    silent.patterns.splice(index, 1);
    if (silent.patterns.length === 0) silent.reached();
    return true;
  }

  #authorize({ headers, method, root, rest, path }: Request): void {
    const [, token = ""] = /^Bearer (\S+)$/.exec(headers["authorization"] ?? "") ?? [];
    const scopes = this.#tokens.get(token);
    if (scopes === undefined) throw new Refusal(403, 9109, "Invalid access token");
    const id = path.split("/")[2];
    const own = root === "accounts" ? this.accountId : this.zoneId;
    if (root !== "user" && id !== own) throw new Refusal(403, 10000, "Authentication error");
    const needed = scopeOf(rest);
    if (scopes === null || needed === undefined || scopes.has(needed)) return;
    const reading = needed.replace(/(Write|Edit)$/, "Read");
    if (method === "GET" && scopes.has(reading)) return;
    throw new Refusal(403, 10000, "Authentication error");
  }

  #checkBody({ method, path, rest, body }: Request): void {
    if (method === "GET" || method === "DELETE") return;
    const setting = /^\/settings\/\w+$/.test(rest);
    const problems = setting
      ? hasOnlyValue(body)
        ? []
        : [`${method} ${path}: the body must be {value}`]
      : description.problemsOf(method, path, body);
    if (problems.length === 0) return;
    this.invalid.push(...problems);
    throw new Refusal(400, 10001, problems.join("; "));
  }

  #answer(request: Request): Answer {
    const { rest } = request;
    if (request.root === "user") return this.#user(request);
    const special = specialPaths.find(({ pattern }) => pattern.test(rest));
    if (special !== undefined) return this.#special(special.kind, request);
    for (const collection of collections) {
      if (rest === collection.path) return this.#collection(collection, request);
      if (!rest.startsWith(`${collection.path}/`)) continue;
      const id = rest.slice(collection.path.length + 1);
      if (!id.includes("/")) return this.#item(collection, id, request);
    }
    throw new Refusal(404, 7003, `Could not route to ${request.path}`);
  }

  #user({ path }: Request): Answer {
    if (path !== "/user/tokens/verify") throw new Refusal(404, 7003, `Could not route to ${path}`);
    return { status: 200, result: { id: hexId(), status: "active" } };
  }

  #collection(collection: Collection, { method, query, body }: Request): Answer {
    const items = this.#items.get(collection.kind) ?? new Map<string, Item>();
    this.#items.set(collection.kind, items);
    if (method === "POST") {
      const sent = itemOf(body);
      const made = collection.complete(sent, this.#world, undefined);
      const id = newId(collection, sent);
      const item = collection.identify === "name" ? made : { ...made, id };
      items.set(id, item);
      return { status: collection.created, result: collection.shown?.create?.(item) ?? item };
    }
    const found = [...items.values()].filter((item) =>
      collection.filters.every((name) => query[name] === undefined || query[name] === item[name]),
    );
    return this.#page(
      found.map((item) => collection.shown?.list?.(item) ?? item),
      query,
      collection.kind,
    );
  }

  #page(found: unknown[], query: Record<string, string>, kind: string): Answer {
    const page = Number(query["page"] ?? 1);
    const size = Number(query["per_page"] ?? 20);
    const part = found.slice((page - 1) * size, page * size);
    return {
      status: 200,
      result: kind === "bucket" ? { buckets: part } : part,
      info: {
        page,
        per_page: size,
        count: part.length,
        total_count: found.length,
        total_pages: Math.ceil(found.length / size),
      },
    };
  }

  #item(collection: Collection, id: string, { method, body, headers }: Request): Answer {
    const { kind, shown } = collection;
    const items = this.#items.get(kind);
    const item = items?.get(id);
    if (items === undefined || item === undefined) {
      throw new Refusal(404, 10007, `no ${kind} with id ${id}`);
    }
    switch (method) {
      case "GET":
        return { status: 200, result: shown?.read?.(item) ?? item };
      case "DELETE": {
        collection.checkDeletable?.(item);
        items.delete(id);
        for (const path of this.#documents.keys()) {
          if (path.startsWith(`${collection.path}/${id}/`)) this.#documents.delete(path);
        }
        return { status: collection.deleted, result: shown?.delete?.(item) ?? item };
      }
      case "PUT":
      case "PATCH": {
        if (method === "PUT" && collection.change === "PATCH") break;
        const storageClass = headers["cf-r2-storage-class"];
        const sent = storageClass === undefined ? itemOf(body) : { storage_class: storageClass };
        const whole = method === "PATCH" ? { ...item, ...sent } : sent;
        const made = collection.complete(
          collection.change === "PATCH" ? sent : whole,
          this.#world,
          item,
        );
        const changed = collection.identify === "name" ? made : { ...made, id };
        items.set(id, changed);
        return { status: 200, result: shown?.change?.(changed) ?? changed };
      }
    }
    throw new Refusal(405, 10405, "Method not allowed for this authentication scheme");
  }

  #special(kind: SpecialKind, request: Request): Answer {
    const { method, rest, body, path } = request;
    switch (kind) {
      case "setting": {
        const document = this.#documents.get(rest);
        if (document === undefined) throw new Refusal(404, 1006, `Unrecognized zone setting`);
        if (method !== "PATCH") return { status: 200, result: document };
        const before = itemOf(document);
        const value = merged(before["value"], itemOf(body)["value"]);
        return this.#keep(rest, { ...before, value, modified_on: new Date().toISOString() });
      }
      case "bucket rules": {
        const bucket = rest.split("/")[3] ?? "";
        if (this.#items.get("bucket")?.has(bucket) !== true) {
          throw new Refusal(404, 10006, "The specified bucket does not exist.");
        }
        if (method === "GET") {
          return { status: 200, result: this.#documents.get(rest) ?? { rules: [] } };
        }
        this.#documents.set(rest, body);
        return { status: 200, result: {} };
      }
      case "tunnel configuration": {
        const tunnel = this.#tunnelOf(rest);
        const before = itemOf(this.#documents.get(rest) ?? {});
        if (method === "GET") {
          return { status: 200, result: { tunnel_id: tunnel["id"], version: 0, ...before } };
        }
        return this.#keep(rest, {
          tunnel_id: tunnel["id"],
          version: Number(before["version"] ?? 0) + 1,
          config: { ...itemOf(itemOf(body)["config"]), "warp-routing": { enabled: false } },
          source: "cloudflare",
          created_at: new Date().toISOString(),
        });
      }
      case "tunnel token": {
        const { id, tunnel_secret: secret } = this.#tunnelOf(rest);
        const parts = { a: this.accountId, t: id, s: secret };
        return { status: 200, result: Buffer.from(JSON.stringify(parts)).toString("base64") };
      }
      case "tunnel connections": {
        const tunnel = this.#tunnelOf(rest);
        if (method === "DELETE") tunnel["connections"] = [];
        return { status: 200, result: method === "DELETE" ? {} : tunnel["connections"] };
      }
      case "entry point": {
        const phase = rest.split("/")[3] ?? "";
        const found = this.items("ruleset").find((item) => item["phase"] === phase);
        if (method === "GET") {
          if (found === undefined) {
            throw new Refusal(404, 10003, "could not find entrypoint ruleset in the phase");
          }
          return { status: 200, result: found };
        }
        const sent = { name: "default", kind: "zone", ...itemOf(body), phase };
        const id = typeof found?.["id"] === "string" ? found["id"] : hexId();
        const made = { ...completeRuleset(sent, this.#world, found), id };
        const rulesets = this.#items.get("ruleset") ?? new Map<string, Item>();
        this.#items.set("ruleset", rulesets.set(id, made));
        return { status: 200, result: made };
      }
      case "list items": {
        const items = this.#documents.get(rest);
        const before = Array.isArray(items) ? items : [];
        if (method === "GET") return { status: 200, result: before, info: { cursors: {} } };
        const sent = Array.isArray(body)
          ? body.map((item) => ({ ...itemOf(item), id: hexId() }))
          : [];
        const after = method === "PUT" ? sent : [...before, ...sent];
        this.#documents.set(rest, after);
        const list = this.#items.get("list")?.get(rest.split("/")[3] ?? "");
        if (list !== undefined) list["num_items"] = after.length;
        return { status: 200, result: { operation_id: randomUUID() } };
      }
      case "bulk operation":
        return {
          status: 200,
          result: { id: rest.split("/").at(-1), status: "completed", completed: new Date() },
        };
      case "organization": {
        if (method === "GET") return { status: 200, result: this.#documents.get(rest) ?? {} };
        return this.#keep(rest, { ...itemOf(this.#documents.get(rest) ?? {}), ...itemOf(body) });
      }
    }
    throw new Refusal(404, 7003, `Could not route to ${path}`);
  }

  #keep(path: string, value: unknown): Answer {
    this.#documents.set(path, value);
    return { status: 200, result: value };
  }

  #tunnelOf(rest: string): Item {
    const id = rest.split("/")[2] ?? "";
    const tunnel = this.#items.get("tunnel")?.get(id);
    if (tunnel === undefined) throw new Refusal(404, 1003, "Tunnel not found");
    return tunnel;
  }

  get #world(): World {
    return {
      accountId: this.accountId,
      zoneName: this.#zoneName,
      items: (kind) => this.items(kind),
    };
  }
}

type SpecialKind =
  | "setting"
  | "bucket rules"
  | "tunnel configuration"
  | "tunnel token"
  | "tunnel connections"
  | "entry point"
  | "list items"
  | "bulk operation"
  | "organization";

/** Paths that no collection serves, and the permission that they need. */
const specialPaths: readonly { kind: SpecialKind; pattern: RegExp; scope: string }[] = [
  { kind: "setting", pattern: /^\/settings\/\w+$/, scope: "Zone Settings Write" },
  {
    kind: "bucket rules",
    pattern: /^\/r2\/buckets\/[^/]+\/(lifecycle|lock)$/,
    scope: "Workers R2 Storage Write",
  },
  {
    kind: "tunnel configuration",
    pattern: /^\/cfd_tunnel\/[^/]+\/configurations$/,
    scope: "Cloudflare Tunnel Write",
  },
  {
    kind: "tunnel token",
    pattern: /^\/cfd_tunnel\/[^/]+\/token$/,
    scope: "Cloudflare Tunnel Write",
  },
  {
    kind: "tunnel connections",
    pattern: /^\/cfd_tunnel\/[^/]+\/connections$/,
    scope: "Cloudflare Tunnel Write",
  },
  {
    kind: "entry point",
    pattern: /^\/rulesets\/phases\/\w+\/entrypoint$/,
    scope: "Zone WAF Write",
  },
  {
    kind: "list items",
    pattern: /^\/rules\/lists\/[^/]+\/items$/,
    scope: "Account Filter Lists Edit",
  },
  {
    kind: "bulk operation",
    pattern: /^\/rules\/lists\/bulk_operations\/[^/]+$/,
    scope: "Account Filter Lists Edit",
  },
  {
    kind: "organization",
    pattern: /^\/access\/organizations$/,
    scope: "Access: Organizations, Identity Providers, and Groups Write",
  },
];

function scopeOf(rest: string): string | undefined {
  const special = specialPaths.find(({ pattern }) => pattern.test(rest));
  if (special !== undefined) return special.scope;
  return collections.find(({ path }) => rest === path || rest.startsWith(`${path}/`))?.scope;
}

async function read(incoming: IncomingMessage): Promise<Request> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString("utf8");
  const url = new URL(incoming.url ?? "/", "http://localhost");
  const path = url.pathname.replace(/^\/client\/v4/, "");
  const [, root = "", id = ""] = path.split("/");
  return {
    method: incoming.method ?? "GET",
    path,
    root,
    rest: root === "user" ? path : path.slice(`/${root}/${id}`.length),
    query: Object.fromEntries(url.searchParams),
    body: text === "" ? undefined : JSON.parse(text),
    headers: Object.fromEntries(
      Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
    ),
  };
}

function itemOf(value: unknown): Item {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : {};
}

function hasOnlyValue(body: unknown): boolean {
  return Object.keys(itemOf(body)).join() === "value";
}

/** Objects leaf by leaf, anything else as it was sent. */
function merged(before: unknown, sent: unknown): unknown {
  if (typeof sent !== "object" || sent === null || Array.isArray(sent)) return sent;
  const old = itemOf(before);
  return {
    ...old,
    ...Object.fromEntries(
      Object.entries(sent).map(([key, value]) => [key, merged(old[key], value)]),
    ),
  };
}
