import { describe, expect, it } from "vitest";
import { CtmError } from "#system";
import openapi from "../../../api/openapi.json" with { type: "json" };
import { exampleSettings } from "../testing/example-settings.ts";
import { numbersAbove } from "./custom-rules.ts";
import { endpoints } from "./endpoints.ts";
import {
  compileRules,
  plans,
  zoneRules,
  type EdgeRequest,
  type Plan,
  type RateLimitRule,
  type Rule,
  type RuleSettings,
} from "./index.ts";
import { exampleKey, requestOf } from "./testing/requests.ts";

const degraded = { mayDegrade: { customRules: true, rateLimits: true, managedRules: true } };
const settingsOf = (plan: Plan, changes: object = degraded): RuleSettings =>
  exampleSettings({ plan, ...changes });

function refusalOf(settings: RuleSettings): string {
  try {
    zoneRules(settings);
  } catch (error) {
    if (error instanceof CtmError && error.code === "plan-too-small") return error.message;
    throw error;
  }
  return "accepted";
}

it("knows the endpoints of the API, as it describes itself", () => {
  const described = Object.entries(openapi.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const parameters: { in: string; name: string }[] =
        "parameters" in operation ? operation.parameters : [];
      const names = parameters.filter((one) => one.in === "query").map(({ name }) => name);
      return `${method.toUpperCase()} ${path} ${names.toSorted().join(",")}`;
    }),
  );
  const known = endpoints.map(
    ({ method, path, query = {} }) =>
      `${method} ${path} ${Object.keys(query).toSorted().join(",")}`,
  );
  expect(known.toSorted()).toEqual(described.toSorted());
});

describe("a plan", () => {
  const numbers = ({ ref, rateLimit }: RateLimitRule): string =>
    `${ref} ${rateLimit.requestsPerPeriod}/${rateLimit.period} ${rateLimit.mitigationTimeout}`;

  it.each(["business", "enterprise"] as const)("%s holds everything as documented", (plan) => {
    const { custom, rateLimits, managed } = zoneRules(settingsOf(plan, {}));
    expect(custom.map(({ ref }) => ref)).toEqual(
      expect.arrayContaining(["ctm-endpoints", "ctm-unauthorized", "ctm-sql-injection"]),
    );
    expect(custom.map(({ description }) => description)).toEqual(
      expect.arrayContaining([
        "Block unauthorized database access",
        "Block SQL injection attempts",
      ]),
    );
    expect(rateLimits.map(numbers)).toEqual([
      "ctm-limit-database 50/60 600",
      "ctm-limit-api 100/60 300",
      "ctm-limit-burst 20/10 60",
    ]);
    expect(managed.map(({ ref }) => ref)).toEqual(["ctm-managed-cloudflare", "ctm-managed-owasp"]);
  });

  it("free holds the nearest forms, where that is allowed", () => {
    const everything = { countries: ["DE"], blockedNetworks: [64_496], ...degraded };
    const { custom, rateLimits, managed } = zoneRules(settingsOf("free", everything));
    expect(custom.map(({ ref }) => ref)).toEqual([
      "ctm-origin",
      "ctm-endpoints",
      "ctm-unauthorized",
      "ctm-body-size",
      "ctm-sql-injection",
    ]);
    expect(rateLimits.map(numbers)).toEqual(["ctm-limit-database-api-burst 20/10 10"]);
    expect(rateLimits[0]?.expression).not.toContain("http.host");
    expect(managed.map(({ ref }) => ref)).toEqual(["ctm-managed-free"]);
  });

  it("pro holds two limits, no stricter than the document's", () => {
    const { rateLimits } = zoneRules(settingsOf("pro"));
    expect(rateLimits.map(numbers)).toEqual([
      "ctm-limit-database 50/60 600",
      "ctm-limit-api-burst 20/10 300",
    ]);
  });

  it.each<[plan: Plan, changes: object, problems: string[]]>([
    [
      "free",
      {},
      [
        "ctm-limit-api, ctm-limit-burst: the plan free holds 1 rate limits, not 3; nearest: some of them merged",
        "ctm-endpoints: the operator matches needs the plan business; nearest: wildcard, contains and lengths",
        "ctm-limit-database: the plan free counts requests by http.request.uri.path, not by http.host; nearest: the path alone",
        "ctm-limit-database: the plan free counts over 10 s, not 60 s; nearest: 9 requests in 10 s",
        "ctm-limit-database: the plan free mitigates for 0, 10 s, not 600 s; nearest: 10 s",
        "managed rules: the plan free has one ruleset; nearest: the Cloudflare Free Managed Ruleset",
      ],
    ],
    [
      "free",
      { countries: ["DE"], blockedNetworks: [1], mayDegrade: { rateLimits: true } },
      [
        "ctm-sql-injection, ctm-sql-call, ctm-other-injection, ctm-code-injection: the plan free holds 5 custom rules, not 9; nearest: some of them merged",
      ],
    ],
    [
      "pro",
      { rateLimits: { api: { periodSeconds: 120 } } },
      [
        "ctm-limit-burst: the plan pro holds 2 rate limits, not 3; nearest: some of them merged",
        "ctm-limit-api: the plan pro counts over 10, 60 s, not 120 s; nearest: 50 requests in 60 s",
      ],
    ],
    [
      "business",
      { rateLimits: { api: { periodSeconds: 45, mitigationSeconds: 100_000 } } },
      [
        "ctm-limit-api: the plan business counts over 10, 60, 120, 300, 600 s, not 45 s; nearest: 23 requests in 10 s",
        "ctm-limit-api: the plan business mitigates for 0, 10, 60, 120, 300, 600, 3600, 86400 s, not 100000 s; nearest: 86400 s",
      ],
    ],
    [
      "enterprise",
      { rateLimits: { burst: { periodSeconds: 70_000 } } },
      [
        "ctm-limit-burst: the plan enterprise counts over 10, 60, 120, 300, 600, 3600 s, not 70000 s; nearest: 2 requests in 3600 s",
      ],
    ],
  ])("%s refuses %j, naming rule, limit and nearest form", (plan, changes, problems) => {
    const refusal = refusalOf(settingsOf(plan, changes));
    for (const problem of problems) expect(refusal.split("\n")).toContain(problem);
  });

  it.each(plans)("%s: each rule's ref is its own", (plan) => {
    const { custom, rateLimits, managed } = zoneRules(
      settingsOf(plan, {
        countries: ["DE"],
        lockdown: { until: "2031-01-01T00:00:00Z" },
        ...degraded,
      }),
    );
    const refs = [...custom, ...rateLimits, ...managed].map(({ ref }) => ref);
    expect(new Set(refs).size).toBe(refs.length);
  });
});

describe("rules", () => {
  const tasks = "/api/database/tasks";
  const id = "0af76519-16cd-43dd-8448-eb211c80319c";
  const key = { "x-api-key": exampleKey };
  const settings = {
    countries: ["DE", "US"],
    blockedNetworks: [64_496],
    ...degraded,
  };
  const lockdown = { until: "2031-01-01T00:10:00Z", allowedAddresses: ["198.51.100.9/24", "::1"] };

  /** A request, the rule that stops it (null: none), and the plans where that differs. */
  const cases: [what: string, request: Partial<EdgeRequest>, ref: string | null][] = [
    ["lists tasks", { query: "status=pending&page=1&limit=20" }, null],
    ["reads a task", { path: `${tasks}/${id}` }, null],
    ["reads a task, in capitals", { path: `${tasks}/${id.toUpperCase()}` }, null],
    ["changes a status", { method: "PATCH", path: `${tasks}/${id}/status` }, null],
    ["creates a task", { method: "POST", body: '{"title":"European Union report"}' }, null],
    ["queries", { method: "POST", path: "/api/database/query" }, null],
    ["asks for health", { path: "/api/database/health" }, null],
    ["ends a login", { path: "/cdn-cgi/access/authorized", query: "nonce=1", headers: {} }, null],
    ["is for another name of the zone", { host: "www.example.com", path: "/x", headers: {} }, null],
    ["names the host in capitals", { host: "API.Example.com", path: "/x" }, "ctm-endpoints"],
    ["names the port", { host: "api.example.com:443", path: "/x" }, "ctm-endpoints"],
    ["sends the bearer header only", { headers: { Authorization: `Bearer ${exampleKey}` } }, null],
    [
      "sends bearer in small letters",
      { headers: { authorization: `bearer  ${exampleKey}` } },
      null,
    ],
    ["sends both headers", { headers: { ...key, authorization: `Bearer ${exampleKey}` } }, null],
    ["has no key", { headers: {} }, "ctm-unauthorized"],
    ["has an empty key", { headers: { "x-api-key": "" } }, "ctm-unauthorized"],
    ["has a key of another shape", { headers: { "x-api-key": "ctm_short" } }, "ctm-unauthorized"],
    [
      "sends another scheme",
      { headers: { authorization: `Basic ${exampleKey}` } },
      "ctm-unauthorized",
    ],
    ["deletes", { method: "DELETE", path: `${tasks}/${id}` }, "ctm-endpoints"],
    ["traces", { method: "TRACE" }, "ctm-endpoints"],
    ["asks for metrics of the process", { path: "/metrics" }, "ctm-endpoints"],
    ["looks for administration", { path: "/api/database/admin" }, "ctm-endpoints"],
    ["climbs", { path: "/api/database/tasks/../health" }, "ctm-endpoints"],
    ["encodes a path", { path: "/api/database/%74asks" }, "ctm-endpoints"],
    ["doubles a slash", { path: "//api/database/tasks" }, "ctm-endpoints"],
    ["names no task", { path: `${tasks}/1%20OR%201=1` }, "ctm-endpoints"],
    ["sends an unknown parameter", { query: "q=1" }, "ctm-endpoints"],
    [
      "sends parameters where none are",
      { path: "/api/database/health", query: "a=1" },
      "ctm-endpoints",
    ],
    ["comes from elsewhere", { country: "FR" }, "ctm-countries"],
    ["comes from a blocked network", { asn: 64_496 }, "ctm-networks"],
  ];

  const compiled = new Map<string, ReturnType<typeof compileRules>>();
  const decide = (plan: Plan, changes: object, request: Partial<EdgeRequest>): string | null => {
    const name = JSON.stringify([plan, changes]);
    const rules =
      compiled.get(name) ??
      compileRules(zoneRules(settingsOf(plan, { ...settings, ...changes })).custom);
    compiled.set(name, rules);
    return rules(requestOf(request)).ref;
  };

  describe.each(plans)("on %s: who", (plan) => {
    it.each(cases)("%s", (_what, request, ref) => {
      const merged = plan === "free" && (ref === "ctm-countries" || ref === "ctm-networks");
      expect(decide(plan, {}, request)).toBe(merged ? "ctm-origin" : ref);
    });

    it("sends a body too large", () => {
      const declared = (bytes: number): Partial<EdgeRequest> => ({
        method: "POST",
        headers: { ...key, "content-length": String(bytes) },
        body: plan === "enterprise" ? "a".repeat(bytes) : "",
      });
      expect(decide(plan, {}, declared(1_048_576))).toBe(null);
      expect(decide(plan, {}, declared(10_000_000))).toBe("ctm-body-size");
      // Without patterns only the number of digits counts.
      const exact = plan === "business" || plan === "enterprise";
      expect(decide(plan, {}, declared(1_048_577))).toBe(exact ? "ctm-body-size" : null);
    });

    it("comes during a lockdown, until it ends by itself", () => {
      const ref = plan === "free" ? "ctm-origin" : "ctm-lockdown";
      const end = Date.parse(lockdown.until);
      expect(decide(plan, { lockdown }, {})).toBe(ref);
      expect(decide(plan, { lockdown }, { ip: "198.51.100.200" })).toBe(null);
      expect(decide(plan, { lockdown }, { ip: "::1" })).toBe(null);
      expect(decide(plan, { lockdown }, { time: end - 1 })).toBe(ref);
      expect(decide(plan, { lockdown }, { time: end })).toBe(null);
    });
  });

  const json = (body: object): Partial<EdgeRequest> => ({
    method: "POST",
    body: JSON.stringify(body),
  });
  /** The same injection, as it can be spelt; the last two only patterns find. */
  const spellings: [what: string, query: string][] = [
    ["plainly", "search=1' UNION ALL SELECT NULL,NULL--"],
    ["url-encoded", "search=1%27%20UNION%20ALL%20SELECT%20NULL%2CNULL--"],
    ["twice", "search=1%2527%2520UNION%2520ALL%2520SELECT%2520NULL%252CNULL--"],
    ["with plus signs", "search=1%27+union+ALL+select+NULL%2CNULL--"],
    ["with %u escapes", "search=1%u0027%u0020UNION%u0020ALL%u0020SELECT%u0020NULL--"],
    ["in a second parameter of the name", "search=a&search=1'%20UNION%20ALL%20SELECT%20NULL"],
    ["with comments", "search=1'/**/UNION/**/ALL/**/SELECT/**/NULL,NULL"],
    ["with line breaks", "search=1'%0aUnIoN%0dALL%09SELECT%0aNULL,NULL"],
  ];

  it.each(spellings)("find an injection that is spelt %s", (_what, query) => {
    for (const plan of ["business", "enterprise"] as const) {
      expect(decide(plan, {}, { query }), plan).toBe("ctm-sql-injection");
    }
  });

  it.each(spellings.slice(0, 6))("find it without patterns, spelt %s", (_what, query) => {
    for (const plan of ["free", "pro"] as const) {
      expect(decide(plan, {}, { query }), plan).toBe("ctm-sql-injection");
    }
  });

  it.each(["user-agent", "referer", "cookie", "x-forwarded-for", "x-anything"])(
    "find one in the header %s",
    (name) => {
      const headers = { ...key, [name]: "x' AND 1=1 UNION ALL SELECT NULL--" };
      for (const plan of plans) {
        expect(decide(plan, {}, { headers }), plan).toBe("ctm-sql-injection");
      }
    },
  );

  it.each([
    "European Union report",
    "select a reviewer and drop me a note",
    "SELECT t.id FROM tasks t WHERE t.status = 'open' AND t.priority > 3 ORDER BY 1; -- slow",
    'Use `DELETE FROM logs WHERE id = $1`, not string concatenation:\n```js\nq("\'" + id + "\'")\n```',
    "DROP TABLE old_tasks; CREATE TABLE tasks (id uuid PRIMARY KEY, title text NOT NULL);",
    "-- a comment first\nINSERT INTO tasks (title) VALUES ('it''s');",
  ])("let a client write about %j", (description) => {
    for (const plan of plans) {
      const task = { title: "Review", description, metadata: { note: description } };
      expect(decide(plan, {}, json(task)), plan).toBe(null);
    }
  });

  /** What people search for, and name tasks: words of SQL, of markup and of shells, in any language. */
  it.each([
    "union -- select committee",
    "European Union select committee",
    "All in union, select 3",
    "Offsite - select venue, caterer",
    "Offsite; select venue from shortlist",
    "Reviewer (select one from the list)",
    "Groceries; update agenda set by Tom",
    "Execute plan B; execute plan C",
    "L'union européenne et l'ordre du jour",
    "...лучше поздно, чем никогда",
    "Ojos que no ven...¡cartera que te limpian!",
    "電信／通訊系統工程師",
    "会议纪要，请审阅．．．",
    "!!!!!!!!!!",
    "JavaScript: the good parts",
    "Add sleep(100) to the flaky test",
    "Benchmark (2024) results",
    "Parser: case 12 falls through",
    "Put addresses between '<' and '>'",
    "information_schema.tables is empty",
    "user@@example.com is a typo",
    "order by 3",
    "../../../src/index.ts does not resolve",
    "/etc/hosts entry is missing",
    "&#39; is shown in titles",
    String.raw`\u00e9 is shown in exports`,
    'Order 24" and 27" monitors',
    "`uname` is not portable",
    "git pull && npm ci",
  ])("let people search for %j, and name a task so", (text) => {
    const searches = [
      `search=${encodeURIComponent(text)}`,
      String(new URLSearchParams({ search: text })),
    ];
    for (const plan of plans) {
      for (const query of searches) expect(decide(plan, {}, { query }), plan).toBe(null);
      const task = { title: text, description: text, tags: [text], metadata: { deep: [text] } };
      expect(decide(plan, {}, json(task)), plan).toBe(null);
    }
  });

  it.each([
    ["foo' OR 'BAR", "ctm-sql-injection"],
    ["1 and @version < 1", "ctm-sql-injection"],
    ["1')#x\nUNION#y\nALL#z\nSELECT#w\n1,2,3", "ctm-sql-injection"],
    ["1;DROP/*x*/TABLE tasks", "ctm-sql-call"],
    ["1 RLIKE SLEEP/**/(5)", "ctm-sql-call"],
    ["<details open ontoggle=top.x()>", "ctm-other-injection"],
    ["*)(uid=*", "ctm-other-injection"],
    [String.raw`..%c0%afetc`, "ctm-other-injection"],
    ["${jndi:ldap://192.0.2.1/a}", "ctm-code-injection"],
    ["${${lower:j}ndi:x}", "ctm-code-injection"],
    ["{{7*7}}", "ctm-code-injection"],
    ["x; head /etc/hostname", "ctm-code-injection"],
    ["() { :;}; /bin/sh -c id", "ctm-code-injection"],
    ["<?php system($_GET['c']); ?>", "ctm-code-injection"],
    ['{"$ne": 1}', "ctm-code-injection"],
  ])("find %j in a parameter and in a header", (payload, ref) => {
    const query = `search=${encodeURIComponent(payload)}`;
    const headers = { ...key, referer: encodeURI(payload) };
    for (const plan of ["business", "enterprise"] as const) {
      expect(decide(plan, {}, { query }), plan).toBe(ref);
      expect(decide(plan, {}, { headers }), plan).toBe(ref);
    }
  });

  it("let an administrator ask in SQL", () => {
    const sql = "SELECT 1 WHERE 1=1 OR 'a'='a' UNION ALL SELECT NULL; -- all of them";
    for (const plan of plans) {
      const request = { ...json({ sql }), path: "/api/database/query" };
      expect(decide(plan, {}, request), plan).toBe(null);
    }
  });

  it.each([
    ["quoted", { title: "x' OR '1'='1" }],
    ["escaped", { title: "x" }],
    ["deep down", { title: "a", metadata: { list: ["1') UNION ALL SELECT NULL,NULL-- "] } }],
    ["between tabs", { title: "1\tor\t1=1" }],
    ["in another field", { title: "a", assigned_to: "admin'--" }],
  ])("find an injection in a body: %s", (what, body) => {
    const request = json(body);
    if (what === "escaped") {
      // "x' union": letters as escapes, which no serialiser writes.
      request.body = String.raw`{"title": "x\u0027 \u0075\u006eion all select null"}`;
    }
    expect(decide("enterprise", {}, request)).toBe("ctm-sql-injection-body");
    // Below it bodies cannot be read.
    expect(decide("business", {}, request)).toBe(null);
  });

  it("are for the document's numbers: above a limit, exactly", () => {
    for (const limit of [9, 99, 1023, 1_048_576, 9_999_999]) {
      const above = new RegExp(numbersAbove(limit));
      for (const near of [0, 1, limit - 1, limit, limit + 1, limit * 2, limit * 10]) {
        expect(above.test(String(near)), `${near} above ${limit}`).toBe(near > limit);
      }
    }
  });

  it("are printed within the limit of an expression", () => {
    const rules: Rule[] = plans.flatMap((plan) => zoneRules(settingsOf(plan, settings)).custom);
    expect(Math.max(...rules.map(({ expression }) => expression.length))).toBeLessThanOrEqual(4096);
  });
});
