import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stackPaths } from "#stack";
import {
  declaredPolicies,
  declaredTokens,
  declaredZoneSettings,
  tokenName,
} from "../../../infra/cloudflare/declared.ts";
import { zoneRules } from "../../../infra/cloudflare/rules/index.ts";
import type { CloudflareSettings } from "../../../infra/cloudflare/settings.ts";
import { exampleSettings } from "../../../infra/cloudflare/testing/example-settings.ts";
import { CloudflareEmulator } from "../../../test/cloudflare/emulator.ts";
import { commands } from "../../commands.ts";
import { runCommand } from "../../testing/run-command.ts";

/** A home with what `up` writes of an edge, before an emulator that holds what it declares. */
export interface DeclaredEdge {
  emulator: CloudflareEmulator;
  settings: CloudflareSettings;
  /** Cloudflare's API token. */
  token: string;
  env: NodeJS.ProcessEnv;
  /** Runs a command line in this process. */
  ctm(...argv: string[]): Promise<{ code: number; out: string; err: string }>;
  /** Writes edge.json anew. */
  save(settings: CloudflareSettings): Promise<void>;
  stop(): Promise<void>;
}

export async function declareEdge(
  changes: Readonly<Record<string, unknown>> = {},
): Promise<DeclaredEdge> {
  const emulator = await CloudflareEmulator.start();
  const { accountId, zoneId, baseUrl } = emulator;
  const settings = exampleSettings({ accountId, zoneId, baseUrl, ...changes });
  const token = emulator.token();
  const home = await mkdtemp(join(tmpdir(), "ctm-declared-edge-"));
  const env = { ...process.env, CTM_HOME: home, NO_COLOR: "1" };
  const paths = stackPaths("local", env);
  await mkdir(paths.credentials, { recursive: true });
  await writeFile(join(paths.credentials, "cloudflare-token"), `${token}\n`, { mode: 0o600 });
  const save = async (now: CloudflareSettings): Promise<void> => {
    await writeFile(paths.edge, JSON.stringify(now));
  };
  await save(settings);
  await fill(settings, token);
  emulator.change("tunnel", (tunnel) => ({ ...tunnel, status: "healthy" }));
  return {
    emulator,
    settings,
    token,
    env,
    save,
    async ctm(...argv) {
      return await runCommand(argv, env, commands);
    },
    async stop() {
      await emulator.close();
      await rm(home, { recursive: true });
    },
  };
}

/** Makes what the program makes, by the API: the program itself runs in test/e2e. */
async function fill(settings: CloudflareSettings, token: string): Promise<void> {
  const { accountId, zoneId, hostname, team, baseUrl } = settings;
  const send = async (method: string, path: string, body: unknown): Promise<{ id: string }> => {
    const response = await fetch(`${baseUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${text}`);
    return (JSON.parse(text) as { result: { id: string } }).result;
  };
  const account = `/accounts/${accountId}`;
  const zone = `/zones/${zoneId}`;
  const ids = new Map<string, string>();
  for (const { key, lifetime } of declaredTokens(settings)) {
    const name = tokenName(settings, key);
    const made = await send("POST", `${account}/access/service_tokens`, {
      name,
      duration: lifetime,
    });
    ids.set(name, made.id);
  }
  const policies: { id: string; precedence: number }[] = [];
  for (const [, policy] of declaredPolicies(settings)) {
    const include = policy.include.map((selector) =>
      "service_token" in selector
        ? { service_token: { token_id: ids.get(selector.service_token.name) } }
        : selector,
    );
    const { id } = await send("POST", `${account}/access/policies`, { ...policy, include });
    policies.push({ id, precedence: policies.length + 1 });
  }
  const application = { name: hostname, domain: hostname, type: "self_hosted", policies };
  await send("POST", `${account}/access/apps`, application);
  const tunnel = { name: hostname, config_src: "cloudflare" };
  const { id } = await send("POST", `${account}/cfd_tunnel`, tunnel);
  await send("PUT", `${account}/cfd_tunnel/${id}/configurations`, {
    config: {
      ingress: [
        {
          hostname,
          service: "http://127.0.0.1:8480",
          originRequest: { access: { required: true, teamName: team, audTag: ["aud"] } },
        },
        { service: "http_status:404" },
      ],
    },
  });
  await send("POST", `${zone}/dns_records`, {
    name: hostname,
    type: "CNAME",
    content: `${id}.cfargotunnel.com`,
    proxied: true,
    ttl: 1,
  });
  for (const [setting, value] of Object.entries(declaredZoneSettings(settings))) {
    await send("PATCH", `${zone}/settings/${setting}`, { value });
  }
  const rules = zoneRules(settings);
  const phases: [string, object[]][] = [
    ["http_request_firewall_custom", rules.custom],
    [
      "http_ratelimit",
      rules.rateLimits.map(({ rateLimit, ...rule }) => ({
        ...rule,
        ratelimit: {
          characteristics: rateLimit.characteristics,
          period: rateLimit.period,
          requests_per_period: rateLimit.requestsPerPeriod,
          mitigation_timeout: rateLimit.mitigationTimeout,
        },
      })),
    ],
    [
      "http_request_firewall_managed",
      rules.managed.map(({ rulesetId, ...rule }) => ({
        ...rule,
        action_parameters: { id: rulesetId },
      })),
    ],
  ];
  for (const [phase, phaseRules] of phases) {
    if (phaseRules.length === 0) continue;
    await send("POST", `${zone}/rulesets`, { name: phase, kind: "zone", phase, rules: phaseRules });
  }
}
