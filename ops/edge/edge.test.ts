import { createServer } from "node:http";
import { rm, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { stackPaths } from "#stack";
import { declareEdge, type DeclaredEdge } from "./testing/declared-edge.ts";

let edge: DeclaredEdge;

beforeEach(async () => {
  edge = await declareEdge({ serviceTokens: [{ name: "ci" }], countries: ["DE", "US"] });
});

afterEach(async () => edge.stop());

async function wrongParts(): Promise<string[]> {
  const { code, out } = await edge.ctm("edge", "status", "--json");
  const { ok, findings } = JSON.parse(out) as {
    ok: boolean;
    findings: { part: string; ok: boolean; message: string }[];
  };
  const wrong = findings.filter((finding) => !finding.ok);
  expect({ code, ok }).toEqual(wrong.length === 0 ? { code: 0, ok: true } : { code: 3, ok: false });
  return wrong.map(({ part, message }) => `${part}: ${message}`);
}

describe("edge status", () => {
  test("finds nothing where everything is as declared", async () => {
    expect(await wrongParts()).toEqual([]);
    expect((await edge.ctm("edge", "status")).out).toContain("local: Cloudflare is as declared");
    expect(edge.emulator.invalid).toEqual([]);
    expect(edge.emulator.calls.filter(({ method }) => method === "GET").length).toBeLessThan(50);
  });

  const rule = (change: object) => (ruleset: Record<string, unknown>) => ({
    ...ruleset,
    rules: (ruleset["rules"] as object[]).map((each, index) =>
      index === 0 ? { ...each, ...change } : each,
    ),
  });

  test.each<[string, (given: DeclaredEdge) => void, string]>([
    [
      "a rule that somebody switched off",
      ({ emulator }) => emulator.change("ruleset", rule({ enabled: false })),
      "[0].enabled is false, declared is true",
    ],
    [
      "a rule that logs instead of blocking",
      ({ emulator }) => emulator.change("ruleset", rule({ action: "log" })),
      '[0].action is "log", declared is "block"',
    ],
    [
      "rules that are gone",
      ({ emulator }) => emulator.remove("ruleset"),
      "http_ratelimit[0] is nothing, declared is",
    ],
    [
      "a policy that lets everybody in",
      ({ emulator }) =>
        emulator.change("policy", (policy) => ({ ...policy, include: [{ everyone: {} }] })),
      'access: policies[1].include[0].email_domain is nothing, declared is {"domain":"example.com"}',
    ],
    [
      "an application that is gone",
      ({ emulator }) => emulator.remove("application"),
      "access: no Access application guards api.example.com",
    ],
    [
      "a DNS record that leads past Cloudflare",
      ({ emulator }) => emulator.change("record", (record) => ({ ...record, proxied: false })),
      "name: api.example.com.proxied is false, declared is true",
    ],
    [
      "a tunnel that leads to the admin port",
      ({ emulator }) => {
        const [tunnel] = emulator.items("tunnel");
        emulator.changeDocument(`/cfd_tunnel/${String(tunnel?.["id"])}/configurations`, () => ({
          config: { ingress: [{ service: "http://127.0.0.1:8481" }] },
        }));
      },
      "tunnel: ingress[0].hostname is nothing",
    ],
    [
      "a tunnel that nobody holds open",
      ({ emulator }) => emulator.change("tunnel", (tunnel) => ({ ...tunnel, status: "down" })),
      "tunnel: its status is down",
    ],
    [
      "a service token that ends soon",
      ({ emulator }) =>
        emulator.change("service token", (token) => ({
          ...token,
          expires_at: new Date(Date.now() + 3.5 * 86_400_000).toISOString(),
        })),
      'service tokens: "api.example.com ci-1" ends in 3 days',
    ],
    [
      "TLS that somebody relaxed",
      ({ emulator }) =>
        emulator.changeDocument("/settings/min_tls_version", () => ({ value: "1.0" })),
      'zone: min_tls_version is "1.0", declared is "1.2"',
    ],
  ])("names %s", async (_, change, message) => {
    change(edge);
    expect((await wrongParts()).join("\n")).toContain(message);
  });

  test("says what is wrong with the token, and shows it nowhere", async () => {
    const limited = edge.emulator.token(["DNS Read"]);
    const { credentials } = stackPaths("local", edge.env);
    await writeFile(`${credentials}/cloudflare-token`, `${limited}\n`);
    const { code, out, err } = await edge.ctm("edge", "status");
    expect(code).toBe(3);
    expect(out).toContain("403 10000 Authentication error");
    expect(out).not.toContain(limited);
    expect(err).not.toContain(limited);
    await rm(`${credentials}/cloudflare-token`);
    expect((await edge.ctm("edge", "status")).err).toMatch(/^credential-missing: /);
  });

  test("does not send the token to where a redirect leads", async () => {
    const seen: (string | undefined)[] = [];
    const elsewhere = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.end();
    });
    await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
    const address = elsewhere.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const redirecting = createServer((_request, response) => {
      response.writeHead(302, { location: `http://127.0.0.1:${port}/` }).end();
    });
    await new Promise<void>((resolve) => redirecting.listen(0, "127.0.0.1", resolve));
    const own = redirecting.address();
    const ownPort = typeof own === "object" && own !== null ? own.port : 0;
    await edge.save({ ...edge.settings, baseUrl: `http://127.0.0.1:${ownPort}` });
    expect((await edge.ctm("edge", "status")).code).toBe(3);
    expect(seen).toEqual([]);
    await Promise.all([elsewhere, redirecting].map((one) => new Promise((end) => one.close(end))));
  });

  test("without a Cloudflare part there is nothing to ask", async () => {
    await rm(stackPaths("local", edge.env).edge);
    const { code, err } = await edge.ctm("edge", "status");
    expect(code).toBe(2);
    expect(err).toMatch(/^no-edge: .*\nnext: docs\/first-deploy\.md/);
  });
});

describe("edge lockdown", () => {
  test.each([
    [["--off", "--until", "2h"], "either --until or --off is needed"],
    [[], "either --until or --off is needed"],
    [["--until", "never"], "--until cannot be never: a lockdown ends by itself"],
    [["--off", "--allow", "10.0.0.0/8"], "--allow belongs to --until"],
    [["--until", "2h", "--allow", "office"], '--allow "office" is no IP address'],
  ])("%j is refused", async (flags, message) => {
    const { code, err } = await edge.ctm("edge", "lockdown", ...flags);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  test("without a terminal it needs --yes, and says what it would do", async () => {
    const { code, err } = await edge.ctm(
      ...["edge", "lockdown", "--until", "2031-03-02T02:00:00Z", "--allow", "203.0.113.0/24"],
    );
    expect(code).toBe(2);
    expect(err).toContain(
      "Until 2031-03-02 02:00:00Z, https://api.example.com will refuse everybody but 203.0.113.0/24.",
    );
    expect(err).toContain("confirmation-needed");
  });
});

describe("edge rotate-token", () => {
  test.each([
    [["nobody"], 'no-such-token: "nobody" is not one of ci, tunnel'],
    [["ci", "--finish"], "no-rotation: ci has one generation only"],
    [["tunnel", "--finish"], "no-rotation: the tunnel's secret is replaced in one step"],
  ])("%j is refused", async (words, message) => {
    const { code, err } = await edge.ctm("edge", "rotate-token", ...words, "--yes");
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  test("a second one is not begun before the first is finished", async () => {
    const [token] = edge.settings.serviceTokens;
    if (token === undefined) throw new Error("no token is declared");
    await edge.save({ ...edge.settings, serviceTokens: [{ ...token, generations: [1, 2] }] });
    const { code, err } = await edge.ctm("edge", "rotate-token", "ci", "--yes");
    expect(code).toBe(2);
    expect(err).toBe(
      "rotation-under-way: ci has generations 1 and 2\nnext: ctm edge rotate-token ci --finish\n",
    );
  });

  test("ending one tells when it was seen last, and asks", async () => {
    const [token] = edge.settings.serviceTokens;
    if (token === undefined) throw new Error("no token is declared");
    await edge.save({ ...edge.settings, serviceTokens: [{ ...token, generations: [1, 2] }] });
    edge.emulator.change("service token", (each) => ({
      ...each,
      last_seen_at: "2026-11-24T11:00:00Z",
    }));
    const { code, err } = await edge.ctm("edge", "rotate-token", "ci", "--finish");
    expect(code).toBe(2);
    expect(err).toContain(
      "Generation 1 of ci will end: clients that still use it are refused. Cloudflare saw it last 2026-11-24T11:00:00Z.",
    );
    // Nothing was asked of Pulumi, and nothing changed.
    expect(edge.emulator.items("service token")).toHaveLength(1);
  });
});

describe("edge simulate", () => {
  const line = (second: number, address: string): string =>
    JSON.stringify({
      time: new Date(Date.UTC(2026, 10, 24, 12, 0, 0, second * 1000)).toISOString(),
      method: "GET",
      endpoint: "/api/database/tasks",
      address,
      msg: "answered",
    });

  test("says what each limit would have stopped, of whom, and what stops nobody", async () => {
    const log = `${stackPaths("local", edge.env).state}/api.log`;
    const noisy = Array.from({ length: 30 }, (_, index) => line(index / 10, "203.0.113.7"));
    const quiet = Array.from({ length: 30 }, (_, index) => line(index, "203.0.113.8"));
    await writeFile(log, [...noisy, ...quiet, "started", ""].join("\n"));
    const { code, out } = await edge.ctm("edge", "simulate", "--log", log, "--json");
    expect(code).toBe(0);
    const { limits, ...rest } = JSON.parse(out) as { limits: Record<string, unknown>[] };
    expect(rest).toEqual({
      stack: "local",
      log,
      requests: 60,
      ignored_lines: 1,
      from: "2026-11-24T12:00:00.000Z",
      to: "2026-11-24T12:00:29.000Z",
    });
    expect(limits.find(({ rule }) => rule === "ctm-limit-burst")).toMatchObject({
      threshold: 20,
      stopped: 10,
      stopped_clients: 1,
      clients: [{ client: "203.0.113.7", stopped: 10 }],
      smallest_threshold_that_stops_nobody: 30,
    });
    const shown = await edge.ctm("edge", "simulate", "--log", log);
    expect(shown.out).toContain("203.0.113.7  10 requests");
    // Nothing is asked of Cloudflare.
    expect(edge.emulator.calls.filter(({ method }) => method === "GET")).toEqual([]);
  });

  test.each([
    [["--log", "/nowhere"], "no-log: /nowhere does not exist"],
    [["--log", "/tmp"], "no-log: /tmp is a folder"],
    [[], "this stack has no API of its own: --log FILE is needed"],
  ])("%j is refused", async (flags, message) => {
    const { code, err } = await edge.ctm("edge", "simulate", ...flags);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});
