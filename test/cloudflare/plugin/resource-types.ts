import { z } from "zod";
import {
  defineResourceType,
  type AnyResourceType,
  type Properties,
} from "../../../infra/provider/resource-type.ts";
import { ApiError, type CloudflareClient } from "./client.ts";
import { changedLeaves, likeState, toApi, type Naming } from "./names.ts";

/** One resource type: which calls its operations are, as recorded of the official provider. */
interface Definition {
  token: string;
  required: readonly string[];
  replacedBy: readonly string[];
  secrets?: readonly string[];
  naming: Naming;
  /** Sent where the program leaves them out. */
  defaults?: Properties;
  /** Where the collection is, or the object where it has no id of its own. */
  path(inputs: Properties): string;
  /** The state's id, from the answer to its creation. */
  idOf(answer: Properties, inputs: Properties): string;
  /** "item": the object is below the path, under its id; "path": it is the path. */
  address: "item" | "path";
  create: "POST" | "PUT" | "PATCH";
  update: "PUT" | "PATCH";
  /** False: there is no call, the object stays. */
  deletes: boolean;
  /** Inputs that a reading does not see, since the official provider does not. */
  unread?: readonly string[];
  /** Names of the answer to keep beside the inputs. */
  outputs?: readonly string[];
  body?(body: Properties, state: Properties | undefined): Properties | undefined;
  headers?(inputs: Properties, state: Properties | undefined): Record<string, string>;
  /** Answers that mean the same as what the state holds. */
  normalized?(answer: Properties, state: Properties): Properties;
}

const snake: Naming = { style: "snake", renamed: {} };
const same: Naming = { style: "same", renamed: {} };

/** Part of the path, and so never of the body. */
const inPath = new Set(["accountId", "zoneId", "settingId", "tunnelId", "bucketName"]);

const text = (value: unknown): string => String(value);
const account = (inputs: Properties): string => `/accounts/${text(inputs["accountId"])}`;
const zone = (inputs: Properties): string => `/zones/${text(inputs["zoneId"])}`;
const byId = (answer: Properties): string => text(answer["id"]);

const jurisdiction = { "cf-r2-jurisdiction": "default" };

const definitions: readonly Definition[] = [
  {
    token: "cloudflare:index/zeroTrustAccessPolicy:ZeroTrustAccessPolicy",
    required: ["accountId", "name", "decision"],
    replacedBy: ["accountId"],
    naming: {
      style: "snake",
      renamed: { includes: "include", excludes: "exclude", requires: "require" },
    },
    defaults: { sessionDuration: "24h" },
    path: (inputs) => `${account(inputs)}/access/policies`,
    idOf: byId,
    address: "item",
    create: "POST",
    update: "PUT",
    deletes: true,
  },
  {
    token: "cloudflare:index/zeroTrustAccessServiceToken:ZeroTrustAccessServiceToken",
    required: ["name"],
    replacedBy: ["accountId", "zoneId"],
    secrets: ["clientSecret"],
    naming: snake,
    defaults: { clientSecretVersion: 1, duration: "8760h" },
    path: (inputs) => `${account(inputs)}/access/service_tokens`,
    idOf: byId,
    address: "item",
    create: "POST",
    update: "PUT",
    deletes: true,
    unread: ["clientSecretVersion", "previousClientSecretExpiresAt"],
    outputs: ["client_id", "client_secret", "expires_at"],
  },
  {
    token: "cloudflare:index/zeroTrustAccessApplication:ZeroTrustAccessApplication",
    required: [],
    replacedBy: ["accountId", "zoneId"],
    naming: snake,
    defaults: { appLauncherVisible: true, httpOnlyCookieAttribute: true, sessionDuration: "24h" },
    path: (inputs) => `${account(inputs)}/access/apps`,
    idOf: byId,
    address: "item",
    create: "POST",
    update: "PUT",
    deletes: true,
    outputs: ["aud", "self_hosted_domains", "destinations"],
    body: (body, state) => ({
      ...body,
      policies: listOf(body["policies"]).map(({ id, precedence }, index) => ({
        id,
        precedence: precedence ?? index + 1,
      })),
      ...(state === undefined || state["domain"] !== body["domain"]
        ? {}
        : {
            self_hosted_domains: state["selfHostedDomains"],
            destinations: state["destinations"],
          }),
    }),
  },
  {
    token: "cloudflare:index/zeroTrustTunnelCloudflared:ZeroTrustTunnelCloudflared",
    required: ["accountId", "name"],
    replacedBy: ["accountId", "configSrc"],
    secrets: ["tunnelSecret"],
    naming: snake,
    defaults: { configSrc: "local" },
    path: (inputs) => `${account(inputs)}/cfd_tunnel`,
    idOf: byId,
    address: "item",
    create: "POST",
    update: "PATCH",
    deletes: true,
    unread: ["configSrc", "tunnelSecret"],
  },
  {
    token: "cloudflare:index/zeroTrustTunnelCloudflaredConfig:ZeroTrustTunnelCloudflaredConfig",
    required: ["accountId", "tunnelId"],
    replacedBy: ["accountId", "tunnelId"],
    naming: { style: "same", renamed: { ingresses: "ingress", audTags: "audTag" } },
    path: (inputs) => `${account(inputs)}/cfd_tunnel/${text(inputs["tunnelId"])}/configurations`,
    idOf: (_, inputs) => text(inputs["tunnelId"]),
    address: "path",
    create: "PUT",
    update: "PUT",
    deletes: false,
  },
  {
    token: "cloudflare:index/dnsRecord:DnsRecord",
    required: ["zoneId", "name", "type", "ttl"],
    replacedBy: ["zoneId", "type"],
    naming: snake,
    defaults: { proxied: false },
    path: (inputs) => `${zone(inputs)}/dns_records`,
    idOf: byId,
    address: "item",
    create: "POST",
    update: "PUT",
    deletes: true,
    outputs: ["settings", "tags"],
    body: (body, state) =>
      state === undefined
        ? body
        : {
            ...body,
            settings: {
              flatten_cname: false,
              ipv4_only: false,
              ipv6_only: false,
              ...objectOf(state["settings"]),
            },
            tags: state["tags"] ?? [],
          },
    // The content of a CNAME has no case, a short name means the full one.
    normalized: (answer, state) => {
      const { name, content } = answer;
      const isSameName =
        text(name) === text(state["name"]) || text(name).startsWith(`${text(state["name"])}.`);
      const isSameContent = text(content).toLowerCase() === text(state["content"]).toLowerCase();
      return {
        ...answer,
        name: isSameName ? state["name"] : name,
        content: isSameContent ? state["content"] : content,
      };
    },
  },
  {
    token: "cloudflare:index/ruleset:Ruleset",
    required: ["kind", "name", "phase"],
    replacedBy: ["accountId", "zoneId", "kind", "name", "phase"],
    naming: snake,
    path: (inputs) => `${zone(inputs)}/rulesets`,
    idOf: byId,
    address: "item",
    create: "POST",
    update: "PUT",
    deletes: true,
    body: (body) => ({
      ...body,
      rules: listOf(body["rules"]).map((rule) => ({
        enabled: true,
        description: "",
        action_parameters: {},
        ...rule,
        ...(rule["ratelimit"] === undefined
          ? {}
          : { ratelimit: { requests_to_origin: false, ...objectOf(rule["ratelimit"]) } }),
      })),
    }),
  },
  {
    token: "cloudflare:index/zoneSetting:ZoneSetting",
    required: ["zoneId", "settingId", "value"],
    replacedBy: ["zoneId", "settingId"],
    naming: same,
    path: (inputs) => `${zone(inputs)}/settings/${text(inputs["settingId"])}`,
    idOf: (_, inputs) => text(inputs["settingId"]),
    address: "path",
    create: "PATCH",
    update: "PATCH",
    deletes: false,
  },
  {
    token: "cloudflare:index/r2Bucket:R2Bucket",
    required: ["accountId", "name"],
    replacedBy: ["accountId", "name"],
    naming: { style: "same", renamed: { location: "locationHint" } },
    defaults: { storageClass: "Standard" },
    path: (inputs) => `${account(inputs)}/r2/buckets`,
    idOf: (answer) => text(answer["name"]),
    address: "item",
    create: "POST",
    update: "PATCH",
    deletes: true,
    // The class goes in a header, and nothing in the body.
    body: (body, state) => (state === undefined ? body : undefined),
    headers: (inputs, state) => ({
      ...jurisdiction,
      ...(state === undefined ? {} : { "cf-r2-storage-class": text(inputs["storageClass"]) }),
    }),
    normalized: (answer, state) => ({
      name: answer["name"],
      storageClass: answer["storage_class"],
      locationHint:
        text(answer["location"]).toLowerCase() === text(state["location"]).toLowerCase()
          ? state["location"]
          : answer["location"],
    }),
  },
  ...(["lifecycle", "lock"] as const).map((kind): Definition => {
    const type = kind === "lock" ? "Lock" : "Lifecycle";
    return {
      token: `cloudflare:index/r2Bucket${type}:R2Bucket${type}`,
      required: ["accountId", "bucketName"],
      replacedBy: ["accountId", "bucketName"],
      naming: same,
      path: (inputs) => `${account(inputs)}/r2/buckets/${text(inputs["bucketName"])}/${kind}`,
      idOf: (_, inputs) => text(inputs["bucketName"]),
      address: "path",
      create: "PUT",
      update: "PUT",
      deletes: false,
      headers: () => jurisdiction,
    };
  }),
  {
    token: "cloudflare:index/notificationPolicy:NotificationPolicy",
    required: ["accountId", "alertType", "mechanisms", "name"],
    replacedBy: ["accountId"],
    naming: {
      style: "snake",
      renamed: {
        emails: "email",
        pagerduties: "pagerduty",
        newStatuses: "new_status",
      },
    },
    defaults: { enabled: true },
    path: (inputs) => `${account(inputs)}/alerting/v3/policies`,
    idOf: byId,
    address: "item",
    create: "POST",
    update: "PUT",
    deletes: true,
  },
];

/** The types as the engine uses them. */
export function resourceTypes(client: () => CloudflareClient): AnyResourceType[] {
  return definitions.map((definition) => resourceType(definition, client));
}

function resourceType(definition: Definition, client: () => CloudflareClient): AnyResourceType {
  const { naming, defaults = {}, unread = [] } = definition;
  const place = (inputs: Properties, id: string): string =>
    definition.address === "item" ? `${definition.path(inputs)}/${id}` : definition.path(inputs);
  const bodyOf = (inputs: Properties, state?: Properties): Properties | undefined => {
    const sent = Object.entries({ ...defaults, ...inputs }).filter(([key]) => !inPath.has(key));
    const body = objectOf(toApi(Object.fromEntries(sent), naming));
    return definition.body === undefined ? body : definition.body(body, state);
  };
  const headersOf = (inputs: Properties, state?: Properties): Record<string, string> =>
    definition.headers?.({ ...defaults, ...inputs }, state) ?? {};
  const outputsOf = (answer: Properties): Properties =>
    Object.fromEntries(
      (definition.outputs ?? []).flatMap((name) =>
        answer[name] === undefined ? [] : [[camel(name), answer[name]]],
      ),
    );

  return defineResourceType({
    token: definition.token,
    inputs: z
      .record(z.string(), z.unknown())
      .refine((inputs) => definition.required.every((key) => inputs[key] !== undefined), {
        message: `needs ${definition.required.join(", ")}`,
      }),
    secrets: [...(definition.secrets ?? [])],
    replacedBy: [...definition.replacedBy],
    async create(inputs: Properties) {
      const answer = objectOf(
        await client().call(
          definition.create,
          definition.path(inputs),
          bodyOf(inputs),
          headersOf(inputs),
        ),
      );
      const id = definition.idOf(answer, inputs);
      return { id, outputs: { ...defaults, ...inputs, ...outputsOf(answer) } };
    },
    async read(id: string, state: Properties) {
      let answer: Properties;
      try {
        answer = objectOf(
          await client().call("GET", place(state, id), undefined, headersOf(state)),
        );
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return undefined;
        throw error;
      }
      const found = definition.normalized?.(answer, state) ?? answer;
      const own = new Set([...inPath, ...unread, "id"]);
      const seen = Object.entries(state).filter(([key]) => !own.has(key));
      const kept = Object.entries(state).filter(([key]) => own.has(key));
      return {
        ...Object.fromEntries(kept),
        ...objectOf(likeState(Object.fromEntries(seen), found, naming)),
        ...outputsOf({ client_secret: state["clientSecret"], ...answer }),
      };
    },
    async update(id: string, state: Properties, inputs: Properties) {
      const body =
        definition.update === "PATCH" && definition.body === undefined
          ? patchOf(state, inputs, naming)
          : bodyOf(inputs, state);
      const answer = objectOf(
        await client().call(definition.update, place(inputs, id), body, headersOf(inputs, state)),
      );
      return { ...state, ...inputs, ...outputsOf({ ...answer, client_secret: undefined }) };
    },
    async delete(id: string, state: Properties) {
      if (!definition.deletes) return;
      const headers = definition.headers === undefined ? {} : jurisdiction;
      await client().call("DELETE", place(state, id), undefined, headers);
    },
  });
}

/** What changed alone. */
function patchOf(state: Properties, inputs: Properties, naming: Naming): unknown {
  const sent = Object.fromEntries(Object.entries(inputs).filter(([key]) => !inPath.has(key)));
  return toApi(changedLeaves(state, sent) ?? {}, naming);
}

function objectOf(value: unknown): Properties {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : {};
}

function listOf(value: unknown): Properties[] {
  return Array.isArray(value) ? value.map(objectOf) : [];
}

function camel(name: string): string {
  return name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
