import { randomBytes, randomUUID } from "node:crypto";

export type Item = Record<string, unknown>;

/** What the emulator refuses, as Cloudflare says it. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: number;

  constructor(status: number, code: number, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** What a kind of object needs to know of the others, and of the zone. */
export interface World {
  accountId: string;
  zoneName: string;
  items(kind: string): Item[];
}

/** A kind of object that is made, listed, read, changed and deleted below one path. */
export interface Collection {
  kind: string;
  /** Below `/accounts/ID` or `/zones/ID`, or for whole paths that begin elsewhere. */
  path: string;
  /** The token's permission group that writing needs. */
  scope: string;
  identify: "uuid" | "hex" | "name";
  created: 200 | 201;
  deleted: 200 | 202 | 204;
  /** Whether PATCH or PUT changes it. */
  change: "PUT" | "PATCH";
  /** Names of the query that a list is narrowed by. */
  filters: readonly string[];
  /** What an answer holds besides what was sent; may refuse. */
  complete(sent: Item, world: World, before: Item | undefined): Item;
  /** What of an object an answer shows; the whole when left out. */
  shown?: Partial<
    Record<"create" | "list" | "read" | "change" | "delete", (item: Item) => Item | []>
  >;
  /** Refuses a deletion. */
  checkDeletable?(item: Item): void;
}

export const hexId = (): string => randomBytes(16).toString("hex");

const now = (): string => `${new Date().toISOString().slice(0, 19)}Z`;

/** When a duration such as "8760h" is over. */
function afterHours(duration: unknown): string {
  const hours = typeof duration === "string" ? Number.parseInt(duration, 10) : 8760;
  return new Date(Date.now() + hours * 3_600_000).toISOString();
}

/** Times that answers hold; the provider does not compare them. */
const times = (before: Item | undefined): Item => ({
  created_at: before?.["created_at"] ?? now(),
  updated_at: now(),
});

const idOnly = ({ id }: Item): Item => ({ id });

const without =
  (name: string) =>
  (item: Item): Item =>
    Object.fromEntries(Object.entries(item).filter(([key]) => key !== name));
const withoutSecret = without("client_secret");
const withoutTunnelSecret = without("tunnel_secret");
const withoutWebhookSecret = without("secret");

function isList(value: unknown): value is Item[] {
  return Array.isArray(value);
}

function completePolicy(sent: Item, _: World, before: Item | undefined): Item {
  return {
    require: [],
    exclude: [],
    session_duration: "24h",
    approval_required: false,
    isolation_required: false,
    purpose_justification_required: false,
    ...sent,
    reusable: true,
    app_count: 0,
    ...times(before),
  };
}

function completeApplication(sent: Item, world: World, before: Item | undefined): Item {
  const domain = String(sent["domain"]);
  const twin = world.items("application").find((item) => item["domain"] === domain);
  if (twin !== undefined && twin["id"] !== before?.["id"]) {
    throw new Refusal(400, 11010, "access.api.error.application_already_exists");
  }
  const known = new Map(world.items("policy").map((policy) => [policy["id"], policy]));
  const named = isList(sent["policies"]) ? sent["policies"] : [];
  return {
    allowed_idps: [],
    auto_redirect_to_identity: false,
    enable_binding_cookie: false,
    options_preflight_bypass: false,
    service_auth_401_redirect: false,
    tags: [],
    self_hosted_domains: [domain],
    destinations: [{ type: "public", uri: domain }],
    aud: before?.["aud"] ?? randomBytes(32).toString("hex"),
    ...sent,
    policies: named.map(({ id, precedence }, index) => {
      const policy = known.get(id);
      if (policy === undefined) {
        throw new Refusal(400, 12130, `access.api.error.invalid_request: no policy ${String(id)}`);
      }
      return { ...policy, precedence: precedence ?? index + 1 };
    }),
    ...times(before),
  };
}

function completeServiceToken(sent: Item, _: World, before: Item | undefined): Item {
  return {
    duration: "8760h",
    client_secret_version: 1,
    client_id: before?.["client_id"] ?? `${hexId()}.access`,
    // Shown with its creation only.
    client_secret: before?.["client_secret"] ?? randomBytes(32).toString("hex"),
    expires_at: before?.["expires_at"] ?? afterHours(sent["duration"]),
    last_seen_at: null,
    ...sent,
    ...times(before),
  };
}

function completeTunnel(sent: Item, world: World, before: Item | undefined): Item {
  const name = sent["name"] ?? before?.["name"];
  const twin = world.items("tunnel").find((item) => item["name"] === name);
  if (twin !== undefined && twin["id"] !== before?.["id"]) {
    throw new Refusal(409, 1013, "You already have a tunnel with this name.");
  }
  return {
    config_src: "local",
    account_tag: world.accountId,
    created_at: now(),
    deleted_at: null,
    connections: [],
    conns_active_at: null,
    conns_inactive_at: null,
    tun_type: "cfd_tunnel",
    metadata: {},
    status: "inactive",
    tunnel_secret: randomBytes(32).toString("base64"),
    ...before,
    ...sent,
    remote_config: (sent["config_src"] ?? before?.["config_src"]) === "cloudflare",
  };
}

function completeRecord(sent: Item, world: World, before: Item | undefined): Item {
  const short = String(sent["name"]);
  const name = short.endsWith(world.zoneName) ? short : `${short}.${world.zoneName}`;
  const twin = world.items("record").find((item) => item["name"] === name);
  if (twin !== undefined && twin["id"] !== before?.["id"]) {
    throw new Refusal(400, 81053, "An A, AAAA, or CNAME record with that host already exists.");
  }
  return {
    settings: {},
    tags: [],
    comment: null,
    ...sent,
    name,
    ttl: sent["proxied"] === true ? 1 : sent["ttl"],
    proxiable: true,
    meta: {},
    created_on: before?.["created_on"] ?? now(),
    modified_on: now(),
    ...(sent["comment"] === undefined ? {} : { comment_modified_on: now() }),
  };
}

/** Rules keep their ids where their refs stay. */
export function completeRuleset(sent: Item, world: World, before: Item | undefined): Item {
  const phase = sent["phase"] ?? before?.["phase"];
  const twin = world.items("ruleset").find((item) => item["phase"] === phase);
  if (twin !== undefined && twin["id"] !== before?.["id"]) {
    throw new Refusal(
      400,
      20217,
      "A similar configuration with rules already exists and overwriting will have unintended consequences.",
    );
  }
  const old = isList(before?.["rules"]) ? before["rules"] : [];
  const rules = isList(sent["rules"]) ? sent["rules"] : [];
  return {
    description: "",
    ...sent,
    phase,
    kind: sent["kind"] ?? before?.["kind"],
    name: sent["name"] ?? before?.["name"],
    version: String(Number(before?.["version"] ?? 0) + 1),
    last_updated: now(),
    rules: rules.map((rule) => {
      const same = old.find(({ ref }) => ref !== undefined && ref === rule["ref"]);
      const id = same?.["id"] ?? hexId();
      return {
        enabled: true,
        ...rule,
        ref: rule["ref"] ?? id,
        id,
        version: "1",
        last_updated: now(),
      };
    }),
  };
}

function completeBucket(sent: Item, world: World, before: Item | undefined): Item {
  if (before === undefined && world.items("bucket").some(({ name }) => name === sent["name"])) {
    throw new Refusal(400, 10004, "The bucket you tried to create already exists, and you own it.");
  }
  return {
    creation_date: new Date().toISOString(),
    jurisdiction: "default",
    storage_class: sent["storageClass"] ?? "Standard",
    ...before,
    ...(sent["name"] === undefined ? {} : { name: sent["name"] }),
    ...(typeof sent["locationHint"] === "string"
      ? { location: sent["locationHint"].toUpperCase() }
      : {}),
    ...(sent["storage_class"] === undefined ? {} : { storage_class: sent["storage_class"] }),
  };
}

function simple(sent: Item, _: World, before: Item | undefined): Item {
  return { ...sent, ...times(before) };
}

const put = { change: "PUT", created: 200, deleted: 200, identify: "hex", filters: [] } as const;

/** Everything that has an id of its own. */
export const collections: readonly Collection[] = [
  {
    ...put,
    kind: "policy",
    path: "/access/policies",
    scope: "Access: Apps and Policies Write",
    identify: "uuid",
    created: 201,
    deleted: 202,
    complete: completePolicy,
    shown: { delete: idOnly },
  },
  {
    ...put,
    kind: "application",
    path: "/access/apps",
    scope: "Access: Apps and Policies Write",
    identify: "uuid",
    created: 201,
    deleted: 202,
    filters: ["name", "domain", "aud"],
    complete: completeApplication,
    shown: { delete: idOnly },
  },
  {
    ...put,
    kind: "group",
    path: "/access/groups",
    scope: "Access: Apps and Policies Write",
    identify: "uuid",
    created: 201,
    deleted: 202,
    filters: ["name"],
    complete: simple,
    shown: { delete: idOnly },
  },
  {
    ...put,
    kind: "service token",
    path: "/access/service_tokens",
    scope: "Access: Service Tokens Write",
    identify: "uuid",
    created: 201,
    filters: ["name"],
    complete: completeServiceToken,
    shown: {
      list: withoutSecret,
      read: withoutSecret,
      change: withoutSecret,
      delete: withoutSecret,
    },
  },
  {
    ...put,
    kind: "identity provider",
    path: "/access/identity_providers",
    scope: "Access: Organizations, Identity Providers, and Groups Write",
    identify: "uuid",
    created: 201,
    complete: simple,
  },
  {
    ...put,
    kind: "tunnel",
    path: "/cfd_tunnel",
    scope: "Cloudflare Tunnel Write",
    identify: "uuid",
    change: "PATCH",
    filters: ["name"],
    complete: completeTunnel,
    shown: {
      create: withoutTunnelSecret,
      list: withoutTunnelSecret,
      read: withoutTunnelSecret,
      change: withoutTunnelSecret,
      delete: withoutTunnelSecret,
    },
    checkDeletable({ connections }) {
      if (!isList(connections) || connections.length === 0) return;
      throw new Refusal(
        400,
        1022,
        "Cannot delete tunnel because it has active connections. Run `cloudflared tunnel cleanup` first.",
      );
    },
  },
  {
    ...put,
    kind: "record",
    path: "/dns_records",
    scope: "DNS Write",
    filters: ["name", "type", "content"],
    complete: completeRecord,
    shown: { delete: idOnly },
  },
  {
    ...put,
    kind: "ruleset",
    path: "/rulesets",
    scope: "Zone WAF Write",
    deleted: 204,
    complete: completeRuleset,
    shown: { list: without("rules") },
  },
  {
    ...put,
    kind: "bucket",
    path: "/r2/buckets",
    scope: "Workers R2 Storage Write",
    identify: "name",
    change: "PATCH",
    complete: completeBucket,
    shown: { delete: () => ({}) },
    checkDeletable({ objects }) {
      if (objects === undefined) return;
      throw new Refusal(409, 10008, "The bucket you tried to delete is not empty.");
    },
  },
  {
    ...put,
    kind: "list",
    path: "/rules/lists",
    scope: "Account Filter Lists Edit",
    complete: (sent, _, before) => ({
      description: "",
      num_items: 0,
      num_referencing_filters: 0,
      ...before,
      ...sent,
      created_on: before?.["created_on"] ?? now(),
      modified_on: now(),
    }),
    shown: { delete: idOnly },
  },
  {
    ...put,
    kind: "notification",
    path: "/alerting/v3/policies",
    scope: "Notifications Write",
    complete: (sent, _, before) => ({
      enabled: true,
      ...sent,
      created: before?.["created"] ?? now(),
      modified: now(),
    }),
    shown: { create: idOnly, change: idOnly, delete: () => [] },
  },
  {
    ...put,
    kind: "webhook",
    path: "/alerting/v3/destinations/webhooks",
    scope: "Notifications Write",
    created: 201,
    complete: (sent, _, before) => ({
      ...sent,
      type: "generic",
      created_at: before?.["created_at"] ?? now(),
      last_success: null,
      last_failure: null,
    }),
    shown: {
      create: idOnly,
      list: withoutWebhookSecret,
      read: withoutWebhookSecret,
      change: idOnly,
      delete: () => [],
    },
  },
];

/** New ids, in the form that the kind's ids have. */
export function newId({ identify }: Collection, sent: Item): string {
  switch (identify) {
    case "uuid":
      return randomUUID();
    case "hex":
      return hexId();
    case "name":
      return String(sent["name"]);
  }
}
