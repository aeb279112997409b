import * as pulumi from "@pulumi/pulumi";
import { ZeroTrustAccessApplication } from "@pulumi/cloudflare/zeroTrustAccessApplication.js";
import { ZeroTrustAccessPolicy } from "@pulumi/cloudflare/zeroTrustAccessPolicy.js";
import { ZeroTrustAccessServiceToken } from "@pulumi/cloudflare/zeroTrustAccessServiceToken.js";
import type { CloudflareSettings } from "./settings.ts";

/** What a program presents in CF-Access-Client-Id and CF-Access-Client-Secret. */
export interface ServiceTokenSecret {
  clientId: string;
  clientSecret: string;
}

/** Who gets past Cloudflare to the hostname: people of a domain, and programs with a token. */
export class Access extends pulumi.ComponentResource {
  /** The application's audience tag, which every token for the API must carry. */
  readonly audience: pulumi.Output<string>;
  /** By NAME-GENERATION. */
  readonly serviceTokens: pulumi.Output<Record<string, ServiceTokenSecret>>;
  readonly application: ZeroTrustAccessApplication;

  constructor(
    name: string,
    settings: CloudflareSettings,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:Access", name, {}, options);
    const tokens = this.#tokens(settings);
    const policies = this.#policies(settings, Object.values(tokens));
    this.application = new ZeroTrustAccessApplication(
      "application",
      {
        accountId: settings.accountId,
        name: settings.hostname,
        domain: settings.hostname,
        type: "self_hosted",
        appLauncherVisible: false,
        httpOnlyCookieAttribute: true,
        sessionDuration: settings.admins.sessionDuration,
        policies: policies.map(({ id }, index) => ({ id, precedence: index + 1 })),
      },
      { parent: this },
    );
    this.audience = this.application.aud;
    this.serviceTokens = pulumi.secret(
      Object.fromEntries(
        Object.entries(tokens).map(([key, { clientId, clientSecret }]) => [
          key,
          { clientId, clientSecret },
        ]),
      ),
    );
    this.registerOutputs({});
  }

  #tokens({
    accountId,
    hostname,
    serviceTokens,
  }: CloudflareSettings): Record<string, ZeroTrustAccessServiceToken> {
    const generations = serviceTokens.flatMap((token) =>
      token.generations.map((generation) => ({
        key: `${token.name}-${generation}`,
        duration: token.lifetime,
      })),
    );
    return Object.fromEntries(
      generations.map(({ key, duration }) => [
        key,
        new ZeroTrustAccessServiceToken(
          key,
          { accountId, name: `${hostname} ${key}`, duration },
          { parent: this },
        ),
      ]),
    );
  }

  /** In the order in which Access asks them. */
  #policies(
    settings: CloudflareSettings,
    tokens: readonly ZeroTrustAccessServiceToken[],
  ): ZeroTrustAccessPolicy[] {
    const { accountId, hostname, admins, countries } = settings;
    const policies: ZeroTrustAccessPolicy[] = [];
    // Requirements all have to hold, so "one of these countries" is what a refusal excludes. Service
    // tokens are let in before any refusal: for them the rule of the firewall holds.
    if (countries.length > 0) {
      policies.push(
        new ZeroTrustAccessPolicy(
          "countries",
          {
            accountId,
            name: `Database Country Access: ${hostname}`,
            decision: "deny",
            includes: [{ everyone: {} }],
            excludes: countries.map((countryCode) => ({ geo: { countryCode } })),
            sessionDuration: admins.sessionDuration,
          },
          { parent: this },
        ),
      );
    }
    policies.push(
      new ZeroTrustAccessPolicy(
        "admins",
        {
          accountId,
          name: `Database Admin Access: ${hostname}`,
          decision: "allow",
          includes: admins.emailDomains.map((domain) => ({ emailDomain: { domain } })),
          sessionDuration: admins.sessionDuration,
        },
        { parent: this },
      ),
    );
    if (tokens.length > 0) {
      policies.push(
        new ZeroTrustAccessPolicy(
          "services",
          {
            accountId,
            name: `Database API Access: ${hostname}`,
            // "allow" would send programs to a login page.
            decision: "non_identity",
            includes: tokens.map(({ id }) => ({ serviceToken: { tokenId: id } })),
            sessionDuration: settings.serviceSessionDuration,
          },
          { parent: this },
        ),
      );
    }
    return policies;
  }
}
