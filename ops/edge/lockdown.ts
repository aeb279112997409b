import { z } from "zod";
import { badUsage, defineCommand } from "../command.ts";
import { addressRange, expiry } from "../key/parameters.ts";
import { optional, repeated, toggle, Unreadable } from "../parameters.ts";
import { timeText } from "../text.ts";
import { changeSettings } from "./change-settings.ts";
import { requireAsDeclared } from "./inspect.ts";
import { openClient, openEdge } from "./open-edge.ts";

/** The rules, and nothing else, are changed. */
const targets = ["**cloudflare:index/ruleset:Ruleset::*"];

export const command = defineCommand({
  help: "The switch for an attack: until a moment, Cloudflare lets only the named addresses through to the API, and refuses everybody else before anything reaches this machine. It is written into the stack's configuration and applied at once, so that up keeps it; Cloudflare itself lets the world in again when the time has come. --off ends it now.",
  examples: [
    {
      run: "ctm edge lockdown --until 2h --allow 203.0.113.0/24",
      does: "two hours with the office alone",
    },
    { run: "ctm edge lockdown --off --yes", does: "let everybody in again" },
  ],
  arguments: {},
  flags: {
    until: optional("WHEN", "when it ends by itself: 2h, or a time with its zone", end),
    allow: repeated("RANGE", "address or range that is still let through", addressRange),
    off: toggle("end it now"),
  },
  destructive: true,
  document: z.strictObject({
    stack: z.string(),
    url: z.string(),
    lockdown: z
      .strictObject({ until: z.iso.datetime(), allowed_addresses: z.array(z.string()) })
      .nullable(),
    /** Cloudflare was asked, and has these rules. */
    checked: z.literal(true),
  }),
  async run({ until, allow, off }, context) {
    if (off === (until !== undefined)) throw badUsage("either --until or --off is needed");
    if (off && allow.length > 0) throw badUsage("--allow belongs to --until");
    const { settings } = await openEdge(context);
    const url = `https://${settings.hostname}`;
    const wanted =
      until === undefined
        ? undefined
        : { until: until.toISOString(), allowedAddresses: [...allow] };
    await context.confirm(
      wanted === undefined
        ? `The lockdown of ${url} will end now: everybody is let through again.`
        : `Until ${timeText(wanted.until)}, ${url} will refuse everybody${allow.length === 0 ? "" : ` but ${allow.join(", ")}`}.`,
    );
    const edge = await changeSettings(
      context,
      // What is undefined does not reach the configuration, which is JSON.
      (configured) => ({ ...configured, lockdown: wanted }),
      targets,
    );
    context.progress.step("asking Cloudflare whether it holds the rules");
    await requireAsDeclared(await openClient(edge, context), edge.settings, {
      parts: ["rules"],
      otherwise: "lockdown-unfinished",
    });
    return {
      stack: context.stack,
      url,
      lockdown:
        wanted === undefined ? null : { until: wanted.until, allowed_addresses: [...allow] },
      checked: true as const,
    };
  },
  render: ({ url, lockdown }) =>
    lockdown === null
      ? `${url} is open to everybody again.\n\nnext: ctm edge test`
      : [
          `${url} is locked down until ${timeText(lockdown.until)}; let through: ${lockdown.allowed_addresses.join(", ") || "nobody"}.`,
          "",
          "next: ctm edge lockdown --off, when it is over before that",
        ].join("\n"),
});

/** A moment to come; there is no lockdown without an end. */
function end(text: string): Date {
  const read = expiry(text);
  if ("never" in read) throw new Unreadable("cannot be never: a lockdown ends by itself");
  return "at" in read ? read.at : new Date(Date.now() + read.afterMs);
}
