import { z } from "zod";

const identifier = z.string().regex(/^[0-9a-f]{32}$/, "must be 32 hexadecimal digits");
const domain = z
  .string()
  .regex(/^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/, "must be a domain in lower case");
/** As Cloudflare writes them: "30m", "24h". */
const duration = z.string().regex(/^[1-9]\d*(m|h)$/, 'must be a duration such as "30m" or "24h"');
const seconds = z.int().min(1);
/** An email address, loosely: Cloudflare has the last word. */
const email = z.string().regex(/^[^\s@]+@[^\s@]+\.[^\s@]+$/, "must be an email address");

function isOnThisHost(url: string): boolean {
  const { hostname } = URL.parse(url) ?? {};
  return hostname !== undefined && /^(localhost|\[::1\]|127(\.\d+){3})$/.test(hostname);
}

/** One of the document's three limits. */
const rateLimit = (requests: number, periodSeconds: number, mitigationSeconds: number) =>
  z
    .strictObject({
      /** Requests of one client in a period; the next one is refused. */
      requests: z.int().min(1).default(requests),
      /** Seconds; the plan bounds it. */
      periodSeconds: seconds.default(periodSeconds),
      /** Seconds during which a client over the limit is refused; the plan bounds it. */
      mitigationSeconds: z.int().min(0).default(mitigationSeconds),
    })
    .prefault({});

/**
 * The value of `ctm:cloudflare`: what stands before the API. Every zone setting in it is that of
 * the whole zone, not of the hostname alone.
 */
export const cloudflareSchema = z
  .strictObject({
    /** The account, as its dashboard's address shows it. */
    accountId: identifier,
    /** The zone, from its overview page. */
    zoneId: identifier,
    /** The zone's name: "example.com". */
    zoneName: domain,
    /** What the zone pays for, from the smallest: decides which rules are possible. */
    plan: z.enum(["free", "pro", "business", "enterprise"]),
    /** Where clients reach the API: one label below the zone, which its certificate covers. */
    hostname: domain,
    /** The Zero Trust organisation: TEAM in https://TEAM.cloudflareaccess.com. */
    team: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "must be the team's name alone"),
    /** People: who may log in, and for how long. */
    admins: z.strictObject({
      /** Domains of their email addresses. */
      emailDomains: z.array(domain).min(1),
      /** Default 24h. */
      sessionDuration: duration.default("24h"),
    }),
    /**
     * Programs that reach the API with a service token. A token is rotated by a second generation:
     * [1], then [1, 2] until every client has the new secret, then [2].
     */
    serviceTokens: z
      .array(
        z.strictObject({
          name: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, "must be a-z, 0-9 or dashes"),
          generations: z
            .array(z.int().min(1))
            .min(1)
            .max(2)
            .refine(([first, second]) => first !== second, "must be two different numbers")
            .default([1]),
          /** How long a generation lives. Default a year. */
          lifetime: duration.default("8760h"),
        }),
      )
      .default([]),
    /** How long a service token's session lives. Default 24h. */
    serviceSessionDuration: duration.default("24h"),
    /** Countries (ISO 3166, such as "DE") from which the API is reached; empty: from all. */
    countries: z.array(z.string().regex(/^[A-Z]{2}$/, "must be two capital letters")).default([]),
    /** Networks (autonomous system numbers) that are always refused. */
    blockedNetworks: z.array(z.int().min(1).max(4_294_967_295)).default([]),
    /** Bytes of the largest request body; the API refuses larger ones itself. Default 1 MiB. */
    maximumBodyBytes: z.int().min(1024).max(104_857_600).default(1_048_576),
    /** Cloudflare's managed rulesets, where the plan has them. Default true. */
    managedRules: z.boolean().default(true),
    /** The document's three limits, each counted for one client. */
    rateLimits: z
      .strictObject({
        /** /api/database/query, /metrics and key administration. */
        database: rateLimit(50, 60, 600),
        /** All of /api. */
        api: rateLimit(100, 60, 300),
        /** Everything. */
        burst: rateLimit(20, 10, 60),
      })
      .prefault({}),
    /** What may be less than the document asks where the plan has no more. Default nothing. */
    mayDegrade: z
      .strictObject({
        /** Several custom rules become one, or lose what the plan cannot express. */
        customRules: z.boolean().default(false),
        /** Limits are merged, with shorter periods and mitigations. */
        rateLimits: z.boolean().default(false),
        /** Managed rulesets that the plan lacks are left out. */
        managedRules: z.boolean().default(false),
      })
      .prefault({}),
    /** HSTS. Default one year, with subdomains. */
    hsts: z
      .strictObject({
        maxAgeSeconds: z.int().min(0).max(63_072_000).default(31_536_000),
        includeSubdomains: z.boolean().default(true),
        preload: z.boolean().default(false),
      })
      .prefault({}),
    /** The R2 bucket for the far copy of the backups; none when left out. */
    bucket: z
      .strictObject({
        name: z.string().regex(/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/, "must be a bucket's name"),
        /** Where it lies: another region than the stack. */
        location: z.enum(["apac", "eeur", "enam", "oc", "weur", "wnam"]),
        /** Days in which nobody can delete or change an object, whatever credentials they hold. */
        lockDays: z.int().min(1).max(3650).default(14),
        /** Days after which an object is deleted; longer than any backup is needed. */
        deleteAfterDays: z.int().min(1).max(3650).default(90),
      })
      .refine(
        ({ lockDays, deleteAfterDays }) => lockDays < deleteAfterDays,
        "deleteAfterDays must be more than lockDays",
      )
      .optional(),
    /** Addresses that learn of a dead tunnel and of attacks. */
    notify: z.array(email).default([]),
    /** An attack: only the addresses named here are let through until then. */
    lockdown: z
      .strictObject({
        /** When it ends by itself, ISO 8601 UTC. */
        until: z.iso.datetime(),
        /** Addresses or CIDR ranges that are still let through. */
        allowedAddresses: z
          .array(z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()]))
          .default([]),
      })
      .optional(),
    /** Path of cloudflared; default /usr/local/bin or /usr/bin, where its packages put it. */
    cloudflared: z.string().startsWith("/", "must be an absolute path").optional(),
    /** Where Cloudflare's API is, when not at Cloudflare: a recording proxy, or a test. */
    baseUrl: z
      .url({ protocol: /^https?$/ })
      .refine(
        (url) => url.startsWith("https:") || isOnThisHost(url),
        "must be https, or on this host: the API token goes there",
      )
      .optional(),
    /**
     * This stack is the edge alone, before the API of another stack, which names this one in
     * `ctm:cloudflareStack`. The other stack's port of the API, which both must set.
     */
    standalone: z.strictObject({ apiPort: z.int().min(1024).max(65535) }).optional(),
  })
  .superRefine(({ hostname, zoneName, serviceTokens }, context) => {
    const label = hostname.endsWith(`.${zoneName}`) ? hostname.slice(0, -zoneName.length - 1) : "";
    if (label === "" || label.includes(".")) {
      context.addIssue({
        code: "custom",
        path: ["hostname"],
        message: `must be one label below ${zoneName}`,
      });
    }
    const names = serviceTokens.map(({ name }) => name);
    for (const [index, name] of names.entries()) {
      if (names.indexOf(name) === index) continue;
      context.addIssue({
        code: "custom",
        path: ["serviceTokens", index, "name"],
        message: `two service tokens are named "${name}"`,
      });
    }
  });

/** What stands before the API, checked, with every default filled in. */
export type CloudflareSettings = z.infer<typeof cloudflareSchema>;

/** As the provider checks it: a token of another form never reaches Cloudflare. */
export const cloudflareTokenSchema = z
  .string()
  .regex(/^[0-9A-Za-z_-]{40,80}$/, "is no API token of Cloudflare");
