import { z } from "zod";
import { CtmError, messageOf } from "#system";
import type { CloudflareSettings } from "../../infra/cloudflare/settings.ts";
import { defineCommand, type Context } from "../command.ts";
import { optional, Unreadable } from "../parameters.ts";
import { countText } from "../text.ts";
import { readAccessTokens, type AccessToken } from "./access-tokens.ts";
import { openEdge, type OpenedEdge } from "./open-edge.ts";
import { send, speaksTls, type ProbeAnswer, type ProbeRequest } from "./probe.ts";

/** A probe after its answer. */
interface Result {
  probe: string;
  ok: boolean;
  expected: string;
  answer: string;
}

interface Probe {
  name: string;
  expected: string;
  request: ProbeRequest;
  /** Whether the answer is as expected. */
  holds: (answer: ProbeAnswer) => boolean;
}

const health = "/api/database/health";
/** In a search that means it: it reads nothing, and no server of ours runs it. */
const attack = "/api/database/tasks?search=%27%20UNION%20SELECT%20key_hash%20FROM%20api_keys--";
/** Of a key's shape, and nobody's. */
const unknownKey = { "x-api-key": `ctm_${"0".repeat(64)}` };
/** An unsigned token: `{"alg":"none"}` . `{}` . */
const forged = "eyJhbGciOiJub25lIn0.e30.";

export const command = defineCommand({
  help: "Sends a dozen harmless requests through the real edge, from this machine, and checks each answer: without identity nothing passes, an attack is blocked, the admin port cannot be reached, old TLS is refused. With a service token of the stack it also checks that a program reaches the API. Reads and changes nothing. Exits 3 when an answer is wrong.",
  examples: [
    { run: "ctm edge test", does: "through Cloudflare, by the declared hostname" },
    {
      run: "ctm edge test https://198.51.100.7",
      does: "the same to one address, such as one that must not answer",
    },
  ],
  arguments: { url: optional("URL", "where the requests go; default the hostname", httpUrl) },
  flags: {},
  document: z.strictObject({
    stack: z.string(),
    ok: z.boolean(),
    url: z.string(),
    results: z.array(
      z.strictObject({
        probe: z.string(),
        ok: z.boolean(),
        expected: z.string(),
        answer: z.string(),
      }),
    ),
    /** What was not looked at, and why. */
    skipped: z.array(z.string()),
  }),
  async run({ url: given }, context) {
    const edge = await openEdge(context);
    const url = given ?? new URL(`https://${edge.settings.hostname}`);
    context.progress.step(`asking ${url.origin}`);
    const skipped: string[] = [];
    const token = await firstServiceToken(edge, skipped);
    const results: Result[] = [];
    // One after the other: a burst would be a probe of the rate limits.
    for (const probe of probesOf(edge.settings, token)) {
      results.push(await run(probe, url, edge.settings, context));
    }
    if (url.protocol === "https:") results.push(...(await probeTls(url, edge.settings, context)));
    else skipped.push("TLS: the URL is not https");
    return {
      stack: context.stack,
      ok: results.every(({ ok }) => ok),
      url: url.origin,
      results,
      skipped,
    };
  },
  render({ stack, ok, url, results, skipped }, paint) {
    const wrong = results.filter((result) => !result.ok);
    const width = Math.max(...results.map(({ probe }) => probe.length));
    const verdict = ok
      ? `${stack}: all ${results.length} answers are right`
      : `${stack}: ${countText(wrong.length, "answer is", "answers are")} wrong`;
    return [
      `${paint.bold(verdict)}  ${paint.dim(url)}`,
      "",
      ...results.map(({ probe, ok: holds, expected, answer }) =>
        holds
          ? `${paint.good("ok ")}  ${probe.padEnd(width)}  ${answer}`
          : `${paint.bad("bad")}  ${probe.padEnd(width)}  ${answer}, expected ${expected}`,
      ),
      ...skipped.map((what) => `${paint.dim("--")}   ${what}`),
      "",
      `next: ${ok ? "ctm edge status" : "ctm edge status, and docs/runbooks/under-attack.md"}`,
    ].join("\n");
  },
  exitCode: ({ ok }) => (ok ? 0 : 3),
});

function httpUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new Unreadable(`"${text}" is no URL such as https://api.example.com`);
  }
  return url;
}

/** In the order in which they are sent; what a program may do comes last. */
function probesOf({ team, hostname }: CloudflareSettings, token: AccessToken | undefined): Probe[] {
  const refused = `a login at ${team}.cloudflareaccess.com, or 401 or 403`;
  const isRefused = ({ status, headers, text }: ProbeAnswer): boolean =>
    !isOfTheApi(text) &&
    (status === 401 || status === 403 || (status === 302 && isLogin(headers.location, team)));
  const nobody = (name: string, path: string, headers: Record<string, string> = {}): Probe => ({
    name,
    expected: refused,
    request: { path, headers },
    holds: isRefused,
  });
  const blocked = (name: string, path: string, headers: Record<string, string>): Probe => ({
    name,
    // A login would mean that no rule stopped it: rules come before Access.
    expected: "403 of a rule",
    request: { path, headers },
    holds: ({ status, text }) => status === 403 && !isOfTheApi(text),
  });
  const identity = {
    "cf-access-client-id": token?.clientId ?? "",
    "cf-access-client-secret": token?.clientSecret ?? "",
  };
  return [
    nobody("nothing at all", health),
    // With a key's shape, so that no rule refuses it before Access is asked.
    nobody("no identity", health, unknownKey),
    nobody("a service token that is none", health, {
      ...unknownKey,
      "cf-access-client-id": `${"0".repeat(32)}.access`,
      "cf-access-client-secret": "0".repeat(64),
    }),
    nobody("a forged token of Access", health, {
      ...unknownKey,
      "cf-access-jwt-assertion": forged,
    }),
    nobody("the metrics of the admin port", "/metrics", unknownKey),
    blocked("an attack in the query", attack, unknownKey),
    ...(token === undefined
      ? []
      : [
          {
            name: "a program with an unknown key",
            expected: "401 INVALID_API_KEY of the API",
            request: { path: health, headers: { ...unknownKey, ...identity } },
            holds: ({ status, text }: ProbeAnswer) =>
              status === 401 && text.includes("INVALID_API_KEY"),
          },
          {
            name: "a program at the admin port's paths",
            expected: "403 of a rule, or 404 of the API",
            request: { path: "/metrics", headers: { ...unknownKey, ...identity } },
            holds: ({ status, text }: ProbeAnswer) =>
              (status === 403 || status === 404) && !text.includes("ctm_api_"),
          },
          blocked("a program that attacks", attack, { ...unknownKey, ...identity }),
          {
            name: "another name of the zone",
            expected: "no answer of the API",
            request: {
              path: health,
              headers: { ...unknownKey, ...identity, host: `other.${hostname}` },
            },
            holds: ({ text }: ProbeAnswer) => !isOfTheApi(text),
          },
        ]),
  ];
}

/** Every error of the API carries one. */
function isOfTheApi(text: string): boolean {
  return text.includes("request_id");
}

function isLogin(location: string | undefined, team: string): boolean {
  const host = URL.parse(location ?? "")?.hostname;
  return host === `${team}.cloudflareaccess.com`;
}

async function run(
  { name, expected, request, holds }: Probe,
  url: URL,
  { hostname }: CloudflareSettings,
  { signal }: Pick<Context, "signal">,
): Promise<Result> {
  try {
    const answer = await send(url, hostname, request, signal);
    return { probe: name, ok: holds(answer), expected, answer: described(answer) };
  } catch (error) {
    if (signal.aborted) throw error;
    return { probe: name, ok: false, expected, answer: messageOf(error) };
  }
}

function described({ status, headers, text }: ProbeAnswer): string {
  const code = /"code":"([A-Z_]+)"/.exec(text)?.[1];
  const host = URL.parse(headers.location ?? "")?.hostname;
  return [String(status), code, host === undefined ? undefined : `to ${host}`]
    .filter((part) => part !== undefined)
    .join(" ");
}

async function probeTls(
  url: URL,
  settings: CloudflareSettings,
  { signal }: Pick<Context, "signal">,
): Promise<Result[]> {
  const { hostname, hsts } = settings;
  const versions: Result[] = [];
  for (const [version, wanted] of [
    ["TLSv1.1", false],
    ["TLSv1.2", true],
  ] as const) {
    const speaks = await speaksTls(url, hostname, version);
    versions.push({
      probe: version,
      ok: speaks === wanted,
      expected: wanted ? "accepted" : "refused",
      answer: speaks ? "accepted" : "refused",
    });
  }
  const plain = await run(
    {
      name: "plain HTTP",
      expected: "301 to https",
      request: { path: health },
      holds: ({ status, headers }) =>
        (status === 301 || status === 308) && headers.location?.startsWith("https://") === true,
    },
    new URL(`http://${url.hostname}`),
    settings,
    { signal },
  );
  const strict: Probe = {
    name: "HSTS",
    expected: `max-age=${hsts.maxAgeSeconds}`,
    request: { path: health },
    holds: ({ headers }) =>
      hsts.maxAgeSeconds === 0 ||
      headers["strict-transport-security"]?.includes(`max-age=${hsts.maxAgeSeconds}`) === true,
  };
  return [...versions, plain, await run(strict, url, settings, { signal })];
}

/** What `up` wrote for programs: the newest generation of the first token. */
async function firstServiceToken(
  { paths, settings }: OpenedEdge,
  skipped: string[],
): Promise<AccessToken | undefined> {
  const [first] = settings.serviceTokens;
  if (first === undefined) {
    skipped.push("programs: no service token is declared (ctm:cloudflare.serviceTokens)");
    return undefined;
  }
  try {
    const found = (await readAccessTokens(paths))[`${first.name}-${first.generations.at(-1)}`];
    if (found === undefined) skipped.push(`programs: up has made no secret for ${first.name}`);
    return found;
  } catch (error) {
    if (!(error instanceof CtmError)) throw error;
    skipped.push(`programs: ${error.message}`);
    return undefined;
  }
}
