import { z } from "zod";
import { CtmError } from "#system";
import { defineCommand } from "../command.ts";
import { asOwner } from "../facts/connection.ts";
import { openStack } from "../open-stack.ts";
import { optional, required } from "../parameters.ts";
import { findKey, generateKey } from "./key-row.ts";
import { duration, keyReference } from "./parameters.ts";

export const command = defineCommand({
  help: "Replaces an API key: the new one has the old one's name, user, limits and lifetime. The old one is switched off at once, or works on for --overlap.",
  examples: [
    { run: "ctm key rotate ctm_0123456789abcdef", does: "one that leaked" },
    { run: "ctm key rotate ctm_0123456789abcdef --overlap 24h", does: "a day to change clients" },
  ],
  arguments: { key: required("KEY", "id, or first 20 characters", keyReference) },
  flags: {
    overlap: optional("DURATION", "how long the old one works on, such as 12h or 7d", duration),
  },
  destructive: true,
  document: z.strictObject({
    id: z.string(),
    key: z.string(),
    expires_at: z.iso.datetime().nullable(),
    replaced: z.strictObject({ id: z.string(), works_until: z.iso.datetime().nullable() }),
  }),
  async run({ key: reference, overlap }, context) {
    const stack = await openStack(context);
    const old = await asOwner(stack, (client) => findKey(client, reference));
    if (old.state !== "active") {
      throw new CtmError("key-not-active", `"${old.name}" (${old.prefix}…) is ${old.state}`, {
        next: "ctm key create --help",
        exitCode: 2,
      });
    }
    await context.confirm(
      `The API key "${old.name}" of ${old.user} (${old.prefix}…) will be replaced; the old one ${overlap === undefined ? "will be refused within ten seconds" : `will work until ${new Date(Date.now() + overlap).toISOString()}`}.`,
    );
    return await asOwner(stack, async (client) => {
      const { id, key } = await generateKey(client, {
        name: old.name,
        user: old.user,
        permissions: old.permissions,
        perHour: old.rate_limit_hour,
      });
      const { rows: made } = await client.query<{ expires_at: Date | null }>(
        `UPDATE public.api_keys AS made
            SET rate_limit_per_day = old.rate_limit_per_day, allowed_ips = old.allowed_ips,
                allowed_endpoints = old.allowed_endpoints, metadata = old.metadata,
                expires_at = now() + (old.expires_at - old.created_at)
           FROM public.api_keys AS old
          WHERE made.id = $1 AND old.id = $2 RETURNING made.expires_at`,
        [id, old.id],
      );
      const { rows: replaced } = await client.query<{ expires_at: Date | null }>(
        `UPDATE public.api_keys
            SET is_active = is_active AND $2::bigint IS NOT NULL,
                expires_at = CASE WHEN $2 IS NULL THEN expires_at
                                  ELSE least(expires_at, now() + $2 * interval '1 ms') END
          WHERE id = $1 AND is_active RETURNING expires_at`,
        [old.id, overlap ?? null],
      );
      const [replacedRow] = replaced;
      // Somebody revoked it since the question: then it must not live on in a new one.
      if (replacedRow === undefined) {
        throw new CtmError(
          "key-not-active",
          `"${old.name}" (${old.prefix}…) was revoked meanwhile`,
          {
            next: "ctm key list --all",
          },
        );
      }
      return {
        id,
        key,
        expires_at: made[0]?.expires_at?.toISOString() ?? null,
        replaced: {
          id: old.id,
          works_until:
            overlap === undefined ? null : (replacedRow.expires_at?.toISOString() ?? null),
        },
      };
    });
  },
  render: ({ id, key, replaced }, paint) =>
    [
      paint.bold(key),
      "",
      `This is the only time that the key is shown. Its id is ${id}. The old one ${replaced.works_until === null ? "is revoked" : `works until ${replaced.works_until}`}.`,
      "",
      "next: ctm key list",
    ].join("\n"),
});
