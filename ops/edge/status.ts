import { z } from "zod";
import { defineCommand } from "../command.ts";
import type { Paint } from "../paint.ts";
import { countText, timeText } from "../text.ts";
import { inspectEdge } from "./inspect.ts";
import { openClient, openEdge } from "./open-edge.ts";

export const command = defineCommand({
  help: "Asks Cloudflare what it really holds for the stack, and names what is otherwise than declared: tunnel, DNS, Access, service tokens, rules, the zone's settings, the bucket. Uses the API token that up was given. Exits 3 when something differs. Changes nothing.",
  examples: [{ run: "ctm edge status", does: "what differs, part by part" }],
  arguments: {},
  flags: {},
  document: z.strictObject({
    stack: z.string(),
    ok: z.boolean(),
    url: z.string(),
    plan: z.string(),
    /** The attack switch: until when only the allowed addresses are let through. */
    lockdown: z
      .strictObject({
        until: z.iso.datetime(),
        over: z.boolean(),
        allowed_addresses: z.array(z.string()),
      })
      .nullable(),
    checked_at: z.iso.datetime(),
    findings: z.array(
      z.strictObject({
        part: z.string(),
        ok: z.boolean(),
        message: z.string(),
        next: z.string().nullable(),
      }),
    ),
  }),
  async run(_, context) {
    const edge = await openEdge(context);
    const client = await openClient(edge, context);
    context.progress.step("asking Cloudflare");
    const now = new Date();
    const findings = await inspectEdge(client, edge.settings, now);
    const { hostname, plan, lockdown } = edge.settings;
    return {
      stack: context.stack,
      ok: findings.every(({ ok }) => ok),
      url: `https://${hostname}`,
      plan,
      lockdown:
        lockdown === undefined
          ? null
          : {
              until: lockdown.until,
              over: Date.parse(lockdown.until) <= now.getTime(),
              allowed_addresses: lockdown.allowedAddresses,
            },
      checked_at: now.toISOString(),
      findings,
    };
  },
  render({ stack, url, plan, ok, lockdown, findings }, paint) {
    const wrong = findings.filter((finding) => !finding.ok);
    const width = Math.max(...findings.map(({ part }) => part.length));
    const verdict = ok
      ? `${stack}: Cloudflare is as declared`
      : `${stack}: ${countText(wrong.length, "part differs", "parts differ")}`;
    const indent = " ".repeat(width + 6);
    return [
      `${paint.bold(verdict)}  ${paint.dim(`${url}, plan ${plan}`)}`,
      ...(lockdown === null ? [] : [lockdownLine(lockdown, paint)]),
      "",
      ...findings.map((finding) => {
        const mark = finding.ok ? paint.good("ok ") : paint.bad("bad");
        return `${mark}  ${finding.part.padEnd(width)} ${finding.message.replaceAll("\n", `\n${indent}`)}`;
      }),
      "",
      `next: ${wrong[0]?.next ?? "ctm edge test"}`,
    ].join("\n");
  },
  exitCode: ({ ok }) => (ok ? 0 : 3),
});

function lockdownLine(
  lockdown: { until: string; over: boolean; allowed_addresses: string[] },
  paint: Paint,
): string {
  const allowed = lockdown.allowed_addresses.join(", ") || "nobody";
  return lockdown.over
    ? `The lockdown was over at ${timeText(lockdown.until)}: ctm edge lockdown --off takes its rule away`
    : paint.warning(`Locked down until ${timeText(lockdown.until)}: ${allowed} is let through`);
}
