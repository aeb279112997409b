import { z } from "zod";
import { defineCommand } from "../command.ts";
import { asOwner } from "../facts/connection.ts";
import { openStack } from "../open-stack.ts";
import { table } from "../paint.ts";
import { optional, textUpTo, toggle } from "../parameters.ts";
import { durationText } from "../text.ts";
import { keyDocument, readKeys } from "./key-row.ts";

export const command = defineCommand({
  help: "Lists the API keys, newest first: what they may do and when they were last used. Neither keys nor hashes are shown.",
  examples: [
    { run: "ctm key list", does: "the keys that work" },
    { run: "ctm key list --all --user robot", does: "all that one user ever had" },
  ],
  arguments: {},
  flags: {
    all: toggle("revoked and expired ones too"),
    user: optional("USER", "only this user's", textUpTo(255)),
  },
  document: z.strictObject({ keys: z.array(keyDocument) }),
  async run({ all, user }, context) {
    const keys = await asOwner(await openStack(context), (client) => readKeys(client));
    return {
      keys: keys.filter(
        (key) => (all || key.state === "active") && (user === undefined || key.user === user),
      ),
    };
  },
  render({ keys }, paint) {
    if (keys.length === 0) return "there is no such key\n\nnext: ctm key create --help";
    const now = Date.now();
    const rows = keys.map((key) => [
      key.prefix,
      key.name,
      key.user,
      key.state === "active" ? key.state : paint.dim(key.state),
      key.permissions.join(" "),
      `${key.rate_limit_hour ?? "default"} / ${key.rate_limit_day ?? "default"}`,
      key.expires_at === null ? "never" : expiryText(Date.parse(key.expires_at) - now),
      key.last_used_at === null
        ? "never"
        : `${durationText(now - Date.parse(key.last_used_at))} ago`,
    ]);
    const heading = ["KEY", "NAME", "USER", "STATE", "MAY", "PER HOUR / DAY", "EXPIRES", "USED"];
    return `${table([heading, ...rows], paint)}\n\nnext: ctm key rotate KEY, or ctm key revoke KEY`;
  },
});

function expiryText(msLeft: number): string {
  return msLeft > 0 ? `in ${durationText(msLeft)}` : `${durationText(-msLeft)} ago`;
}
