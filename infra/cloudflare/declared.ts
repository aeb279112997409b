import type { CloudflareSettings } from "./settings.ts";

/** One Access policy, in the words of Cloudflare's API; service tokens are told apart by name. */
interface DeclaredPolicy {
  name: string;
  decision: "allow" | "deny" | "non_identity";
  include: DeclaredSelector[];
  exclude: DeclaredSelector[];
  session_duration: string;
}
export type DeclaredSelector =
  | { everyone: Record<string, never> }
  | { email_domain: { domain: string } }
  | { geo: { country_code: string } }
  | { service_token: { name: string } };

/** NAME-GENERATION of every service token, with its lifetime, such as "8760h". */
export function declaredTokens({
  serviceTokens,
}: CloudflareSettings): { key: string; lifetime: string }[] {
  return serviceTokens.flatMap(({ name, generations, lifetime }) =>
    generations.map((generation) => ({ key: `${name}-${generation}`, lifetime })),
  );
}

/** Under which name Cloudflare shows a service token. */
export function tokenName({ hostname }: CloudflareSettings, key: string): string {
  return `${hostname} ${key}`;
}

/** The Access policies of the application by their names here, in the order in which they are asked. */
export function declaredPolicies(
  settings: CloudflareSettings,
): [key: "countries" | "admins" | "services", policy: DeclaredPolicy][] {
  const { hostname, admins, countries } = settings;
  const tokens = declaredTokens(settings);
  const policies: ReturnType<typeof declaredPolicies> = [];
  // Requirements all have to hold, so "one of these countries" is what a refusal excludes. Service
  // tokens are let in before any refusal: for them the rule of the firewall holds.
  if (countries.length > 0) {
    policies.push([
      "countries",
      {
        name: `Database Country Access: ${hostname}`,
        decision: "deny",
        include: [{ everyone: {} }],
        exclude: countries.map((country) => ({ geo: { country_code: country } })),
        session_duration: admins.sessionDuration,
      },
    ]);
  }
  policies.push([
    "admins",
    {
      name: `Database Admin Access: ${hostname}`,
      decision: "allow",
      include: admins.emailDomains.map((domain) => ({ email_domain: { domain } })),
      exclude: [],
      session_duration: admins.sessionDuration,
    },
  ]);
  if (tokens.length > 0) {
    policies.push([
      "services",
      {
        name: `Database API Access: ${hostname}`,
        // "allow" would send programs to a login page.
        decision: "non_identity",
        include: tokens.map(({ key }) => ({ service_token: { name: tokenName(settings, key) } })),
        exclude: [],
        session_duration: settings.serviceSessionDuration,
      },
    ]);
  }
  return policies;
}

/** Settings of the whole zone by their ids. */
export function declaredZoneSettings({ hsts }: CloudflareSettings): Record<string, unknown> {
  return {
    ssl: "strict",
    min_tls_version: "1.2",
    always_use_https: "on",
    // Every leaf: one that an answer lacked would end the provider (facts of its version).
    security_header: {
      strict_transport_security: {
        enabled: hsts.maxAgeSeconds > 0,
        max_age: hsts.maxAgeSeconds,
        include_subdomains: hsts.includeSubdomains,
        preload: hsts.preload,
        nosniff: true,
      },
    },
  };
}
