import * as pulumi from "@pulumi/pulumi";
import { ZeroTrustAccessApplication } from "@pulumi/cloudflare/zeroTrustAccessApplication.js";
import { ZeroTrustAccessPolicy } from "@pulumi/cloudflare/zeroTrustAccessPolicy.js";
import { ZeroTrustAccessServiceToken } from "@pulumi/cloudflare/zeroTrustAccessServiceToken.js";
import { declaredPolicies, declaredTokens, tokenName, type DeclaredSelector } from "./declared.ts";
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
    const { accountId } = settings;
    const tokens = new Map(
      declaredTokens(settings).map(({ key, lifetime }) => [
        key,
        new ZeroTrustAccessServiceToken(
          key,
          { accountId, name: tokenName(settings, key), duration: lifetime },
          { parent: this },
        ),
      ]),
    );
    const idOf = new Map([...tokens].map(([key, { id }]) => [tokenName(settings, key), id]));
    const policies = declaredPolicies(settings).map(
      ([key, { name: policyName, decision, include, exclude, session_duration: duration }]) =>
        new ZeroTrustAccessPolicy(
          key,
          {
            accountId,
            name: policyName,
            decision,
            includes: include.map((selector) => inSdkWords(selector, idOf)),
            // An empty list is sent, and then never comes back.
            ...(exclude.length === 0
              ? {}
              : { excludes: exclude.map((selector) => inSdkWords(selector, idOf)) }),
            sessionDuration: duration,
          },
          { parent: this },
        ),
    );
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
        [...tokens].map(([key, { clientId, clientSecret }]) => [key, { clientId, clientSecret }]),
      ),
    );
    this.registerOutputs({});
  }
}

type Selector = Extract<
  NonNullable<ConstructorParameters<typeof ZeroTrustAccessPolicy>[1]["includes"]>,
  readonly unknown[]
>[number];

function inSdkWords(
  selector: DeclaredSelector,
  idOf: ReadonlyMap<string, pulumi.Output<string>>,
): Selector {
  if ("everyone" in selector) return { everyone: {} };
  if ("email_domain" in selector) return { emailDomain: selector.email_domain };
  if ("geo" in selector) return { geo: { countryCode: selector.geo.country_code } };
  const tokenId = idOf.get(selector.service_token.name);
  if (tokenId === undefined) throw new Error(`no token is ${selector.service_token.name}`);
  return { serviceToken: { tokenId } };
}
