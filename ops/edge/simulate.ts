import { readFile, stat } from "node:fs/promises";
import { z } from "zod";
import { CtmError, isMissing, systemErrorCode } from "#system";
import { readDescriptorIfExists } from "#stack";
import {
  readAccessLog,
  simulateRateLimits,
  zoneRules,
  type EdgeRequest,
} from "../../infra/cloudflare/rules/index.ts";
import { badUsage, defineCommand, type Context } from "../command.ts";
import { table } from "../paint.ts";
import { anyText, optional } from "../parameters.ts";
import { bytesText, countText, timeText } from "../text.ts";
import { openEdge, type OpenedEdge } from "./open-edge.ts";

/** Ten of our own log's rotations; a string of Node's holds twice as much. */
const largestLogBytes = 256_000_000;
const mostClients = 10;

export const command = defineCommand({
  help: "Plays an access log through the declared rate limits, and says what each would have stopped, of whom, and from which threshold on it would have stopped nobody. Reads JSON lines: the API's own log, or rows of api_access_logs as row_to_json writes them. What the edge stopped already is in neither. Asks and changes nothing.",
  examples: [
    { run: "ctm edge simulate", does: "the API's log of this machine" },
    { run: "ctm edge simulate --log /tmp/week.jsonl", does: "rows that were written to a file" },
  ],
  arguments: {},
  flags: { log: optional("FILE", "JSON lines; default the API's log", anyText) },
  document: z.strictObject({
    stack: z.string(),
    log: z.string(),
    requests: z.int(),
    /** Lines that tell of no request. */
    ignored_lines: z.int(),
    from: z.iso.datetime().nullable(),
    to: z.iso.datetime().nullable(),
    limits: z.array(
      z.strictObject({
        rule: z.string(),
        threshold: z.int(),
        period_seconds: z.int(),
        mitigation_seconds: z.int(),
        /** Requests that it is for, less those that a limit before it stopped. */
        matched: z.int(),
        stopped: z.int(),
        stopped_clients: z.int(),
        /** Those of which it stopped most. */
        clients: z.array(z.strictObject({ client: z.string(), stopped: z.int() })),
        /** Null where no request was for it. */
        smallest_threshold_that_stops_nobody: z.int().nullable(),
      }),
    ),
  }),
  async run({ log: given }, context) {
    const edge = await openEdge(context);
    const { hostname } = edge.settings;
    const log = given ?? (await ownLog(edge, context));
    context.progress.step(`reading ${log}`);
    const { requests, ignoredLines } = readAccessLog(await readLog(log), hostname);
    const { rateLimits } = zoneRules(edge.settings);
    context.progress.step(`playing ${countText(requests.length, "request")}`);
    const { stoppedBy, limits } = simulateRateLimits(rateLimits, requests);
    const times = requests.map(({ time }) => time);
    const iso = (time: number | undefined): string | null =>
      time === undefined ? null : new Date(time).toISOString();
    return {
      stack: context.stack,
      log,
      requests: requests.length,
      ignored_lines: ignoredLines,
      from: iso(
        times.reduce<number | undefined>((first, time) => Math.min(first ?? time, time), undefined),
      ),
      to: iso(
        times.reduce<number | undefined>((last, time) => Math.max(last ?? time, time), undefined),
      ),
      limits: limits.map((outcome) => {
        const { rateLimit } = rateLimits.find(({ ref }) => ref === outcome.ref) ?? {};
        return {
          rule: outcome.ref,
          threshold: rateLimit?.requestsPerPeriod ?? 0,
          period_seconds: rateLimit?.period ?? 0,
          mitigation_seconds: rateLimit?.mitigationTimeout ?? 0,
          matched: outcome.matched,
          stopped: outcome.stopped,
          stopped_clients: outcome.stoppedClients,
          clients: clientsOf(requests, stoppedBy, outcome.ref),
          smallest_threshold_that_stops_nobody: outcome.peak?.requests ?? null,
        };
      }),
    };
  },
  render({ log, requests, ignored_lines: ignored, from, to, limits }, paint) {
    const span = from === null || to === null ? "" : `, ${timeText(from)} to ${timeText(to)}`;
    const others = ignored === 0 ? "" : `; ${countText(ignored, "other line")}`;
    const rows = limits.map((limit) => [
      limit.rule,
      `${limit.threshold} in ${limit.period_seconds} s`,
      String(limit.matched),
      String(limit.stopped),
      String(limit.stopped_clients),
      String(limit.smallest_threshold_that_stops_nobody ?? "-"),
    ]);
    const stopping = limits.filter(({ stopped }) => stopped > 0);
    return [
      paint.bold(`${countText(requests, "request")} of ${log}${span}${others}`),
      "",
      table(
        [["RULE", "LIMIT", "MATCHED", "STOPPED", "CLIENTS", "STOPS NOBODY FROM"], ...rows],
        paint,
      ),
      ...stopping.flatMap(({ rule, clients }) => [
        "",
        `${rule} would have stopped, most of all:`,
        ...clients.map(({ client, stopped }) => `  ${client}  ${countText(stopped, "request")}`),
      ]),
      "",
      stopping.length === 0
        ? "next: ctm edge test"
        : "next: look whether these are attackers, or raise rateLimits in ctm:cloudflare",
    ].join("\n");
  },
});

async function ownLog({ paths }: OpenedEdge, { stack }: Context): Promise<string> {
  const descriptor = await readDescriptorIfExists(stack, paths);
  const log = descriptor?.services.find(({ kind }) => kind === "api")?.log;
  if (log !== undefined) return log;
  throw badUsage("this stack has no API of its own: --log FILE is needed");
}

async function readLog(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > largestLogBytes) {
      throw new CtmError("log-too-large", `${path} has ${bytesText(size)}`, {
        next: `give a part of it: tail -c ${largestLogBytes} ${path}`,
        exitCode: 2,
      });
    }
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) {
      throw new CtmError("no-log", `${path} does not exist`, { next: "ctm logs", exitCode: 2 });
    }
    const code = systemErrorCode(error);
    if (code === "EISDIR") {
      throw new CtmError("no-log", `${path} is a folder`, { next: "ctm logs", exitCode: 2 });
    }
    if (code === "EACCES") {
      throw new CtmError("no-permission", `${path} cannot be read by this user`, {
        next: "run as root",
      });
    }
    throw error;
  }
}

function clientsOf(
  requests: readonly EdgeRequest[],
  stoppedBy: readonly (string | null)[],
  rule: string,
): { client: string; stopped: number }[] {
  const counts = new Map<string, number>();
  for (const [index, { ip }] of requests.entries()) {
    if (stoppedBy[index] === rule) counts.set(ip, (counts.get(ip) ?? 0) + 1);
  }
  return [...counts]
    .map(([client, stopped]) => ({ client, stopped }))
    .toSorted((one, other) => other.stopped - one.stopped)
    .slice(0, mostClients);
}
