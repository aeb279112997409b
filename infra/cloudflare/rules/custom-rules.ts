import { isCloudflaresOwn, isForHost, isForTheApi } from "./endpoints.ts";
import {
  address,
  and,
  any,
  bytes,
  compares,
  header,
  integer,
  length,
  matches,
  not,
  oneOf,
  oneOfNumbers,
  or,
  wildcard,
  within,
  type Condition,
} from "./language/build.ts";
import { printExpression } from "./language/print.ts";
import type { Rule } from "./model.ts";
import { planLimits } from "./plan-limits.ts";
import type { RuleSettings } from "./settings.ts";
import {
  isCodeInjection,
  isOtherInjection,
  isOtherInjectionInBody,
  isSqlCall,
  isSqlCallInBody,
  isSqlInjection,
  isSqlInjectionInBody,
} from "./injection.ts";

/** A rule before it is printed; all of ours block. */
interface Draft {
  ref: string;
  description: string;
  condition: Condition;
}

/** The rules as they should be, whatever the plan. */
export function wantedCustomRules(settings: RuleSettings): Rule[] {
  const { enterprise } = planLimits[settings.plan];
  return [
    ...originDrafts(settings),
    ...requestDrafts(settings, { patterns: true, enterprise }),
  ].map((draft) => finished(settings, draft));
}

/** The nearest form of the same rules that the plan can hold. */
export function nearestCustomRules(settings: RuleSettings): Rule[] {
  const { patterns, enterprise, customRules } = planLimits[settings.plan];
  const origins = originDrafts(settings);
  const requests = requestDrafts(settings, { patterns, enterprise });
  const room = customRules - requests.length;
  return [...(origins.length > room ? merged(origins) : origins), ...requests].map((draft) =>
    finished(settings, draft),
  );
}

/** Who may come at all. */
function originDrafts({ lockdown, countries, blockedNetworks }: RuleSettings): Draft[] {
  const drafts: Draft[] = [];
  if (lockdown !== undefined) {
    const until = Math.floor(Date.parse(lockdown.until) / 1000);
    // Ends by itself, though nobody changes the configuration.
    const holds = compares(integer("http.request.timestamp.sec"), "lt", until);
    const allowed = lockdown.allowedAddresses;
    drafts.push({
      ref: "ctm-lockdown",
      description: `Lockdown until ${lockdown.until}`,
      condition: allowed.length === 0 ? holds : and(holds, not(within(address("ip.src"), allowed))),
    });
  }
  if (countries.length > 0) {
    drafts.push({
      ref: "ctm-countries",
      description: "Block other countries",
      condition: not(oneOf(bytes("ip.src.country"), countries)),
    });
  }
  if (blockedNetworks.length > 0) {
    drafts.push({
      ref: "ctm-networks",
      description: "Block networks",
      condition: oneOfNumbers(integer("ip.src.asnum"), blockedNetworks),
    });
  }
  return drafts;
}

function merged(drafts: readonly Draft[]): Draft[] {
  const [first, ...others] = drafts.map(({ condition }) => condition);
  if (first === undefined) return [];
  return [
    {
      ref: "ctm-origin",
      description: drafts.map(({ description }) => description).join("; "),
      condition: or(first, ...others),
    },
  ];
}

/** What a request may be. */
function requestDrafts(
  { maximumBodyBytes }: RuleSettings,
  can: { patterns: boolean; enterprise: boolean },
): Draft[] {
  const drafts: Draft[] = [
    {
      ref: "ctm-endpoints",
      description: "Block methods and paths outside the API",
      condition: not(isForTheApi(can.patterns)),
    },
    {
      ref: "ctm-unauthorized",
      description: "Block unauthorized database access",
      condition: not(hasKey(can.patterns)),
    },
    {
      ref: "ctm-body-size",
      description: "Block bodies that the API refuses",
      condition: isTooLarge(maximumBodyBytes, can),
    },
    {
      ref: "ctm-sql-injection",
      description: "Block SQL injection attempts",
      condition: isSqlInjection(can.patterns),
    },
  ];
  if (can.patterns) {
    drafts.push(
      {
        ref: "ctm-sql-call",
        description: "Block SQL statements and calls in parameters and headers",
        condition: isSqlCall(),
      },
      {
        ref: "ctm-other-injection",
        description: "Block scripts and paths in parameters and headers",
        condition: isOtherInjection(),
      },
      {
        ref: "ctm-code-injection",
        description: "Block commands and code in parameters and headers",
        condition: isCodeInjection(),
      },
    );
  }
  if (can.enterprise) {
    drafts.push(
      {
        ref: "ctm-sql-injection-body",
        description: "Block SQL injection attempts in bodies",
        condition: isSqlInjectionInBody(),
      },
      {
        ref: "ctm-sql-call-body",
        description: "Block SQL statements and calls in bodies",
        condition: isSqlCallInBody(),
      },
      {
        ref: "ctm-other-injection-body",
        description: "Block scripts and paths in bodies",
        condition: isOtherInjectionInBody(),
      },
    );
  }
  return drafts.map((draft) => ({
    ...draft,
    condition: and(not(isCloudflaresOwn), draft.condition),
  }));
}

const keyLength = "ctm_".length + 64;

/** A key of the right shape in either header, as api/src/authorize.ts reads them. */
function hasKey(patterns: boolean): Condition {
  const own = header("x-api-key");
  const bearer = header("authorization");
  if (patterns) {
    return or(
      any(matches(own, "^ctm_[0-9a-f]{64}$")),
      any(matches(bearer, "^(?i:bearer) +ctm_[0-9a-f]{64} *$")),
    );
  }
  return or(
    any(and(wildcard(own, "ctm_*"), compares(length(own), "eq", keyLength))),
    any(
      and(
        wildcard(bearer, "bearer *ctm_*"),
        compares(length(bearer), "ge", "bearer ".length + keyLength),
        compares(length(bearer), "le", "bearer ".length + keyLength + 4),
      ),
    ),
  );
}

/**
 * Below Enterprise the size is what Content-Length says: exactly with patterns, else by its number
 * of digits. A body in chunks is held by the API.
 */
function isTooLarge(limit: number, can: { patterns: boolean; enterprise: boolean }): Condition {
  if (can.enterprise) return compares(integer("http.request.body.size"), "gt", limit);
  const declared = header("content-length");
  if (can.patterns) return any(matches(declared, numbersAbove(limit)));
  return any(compares(length(declared), "gt", String(limit).length));
}

/** A pattern of the decimal numbers above a limit. */
export function numbersAbove(limit: number): string {
  const digits = String(limit);
  const sameLength = digits.split("").flatMap((digit, index) => {
    if (digit === "9") return [];
    const rest = digits.length - index - 1;
    return [`${digits.slice(0, index)}[${Number(digit) + 1}-9][0-9]{${rest}}`];
  });
  return `^0*(?:${[`[1-9][0-9]{${digits.length},}`, ...sameLength].join("|")})$`;
}

function finished({ hostname }: RuleSettings, { ref, description, condition }: Draft): Rule {
  const { expression } = and(isForHost(hostname), condition);
  return {
    ref,
    description,
    expression: printExpression(expression),
    action: "block",
    enabled: true,
  };
}
