import { z } from "zod";
import { defineCommand } from "../command.ts";
import { asOwner } from "../facts/connection.ts";
import { openStack } from "../open-stack.ts";
import { defaulted, oneOf, repeated, required, textUpTo, wholeNumber } from "../parameters.ts";
import { generateKey } from "./key-row.ts";
import { addressRange, endpoint, expiry, permissions } from "./parameters.ts";

/** The columns are int4. */
const largestLimit = 2_147_483_647;

export const command = defineCommand({
  help: "Makes an API key and shows it this once: only its hash is kept.",
  examples: [
    {
      run: "ctm key create --name ci --user robot --permission read:tasks --permission write:tasks",
      does: "a key that lists and creates tasks",
    },
    {
      run: "ctm key create --name import --user robot --permission admin --expires 12h --rate-limit-hour 100000",
      does: "for one big job",
    },
  ],
  arguments: {},
  flags: {
    name: required("NAME", "what the key is for", textUpTo(255)),
    user: required("USER", "whose it is", textUpTo(255)),
    permission: repeated("P", `one of ${permissions.join(", ")}`, oneOf(...permissions), {
      required: true,
    }),
    rateLimitHour: defaulted("N", "requests an hour", "1000", wholeNumber(1, largestLimit)),
    rateLimitDay: defaulted("N", "requests a day", "10000", wholeNumber(1, largestLimit)),
    expires: defaulted("WHEN", "never, 90d, or a time with its zone", "365d", expiry),
    allowIp: repeated("RANGE", "address or range that may use it; none allows all", addressRange),
    endpoint: repeated("PATH", "endpoint that it may call; none allows all", endpoint),
  },
  document: z.strictObject({
    id: z.string(),
    key: z.string(),
    expires_at: z.iso.datetime().nullable(),
    url: z.string(),
  }),
  async run(input, context) {
    const stack = await openStack(context);
    const expires = input.expires;
    return await asOwner(stack, async (client) => {
      const { id, key } = await generateKey(client, {
        name: input.name,
        user: input.user,
        permissions: [...new Set(input.permission)],
        perHour: input.rateLimitHour,
      });
      const { rows } = await client.query<{ expires_at: Date | null }>(
        `UPDATE public.api_keys
            SET rate_limit_per_day = $2, allowed_ips = $3::jsonb, allowed_endpoints = $4::jsonb,
                expires_at = CASE WHEN $5::boolean THEN NULL
                                  ELSE coalesce($6, now() + $7 * interval '1 ms') END
          WHERE id = $1 RETURNING expires_at`,
        [
          id,
          input.rateLimitDay,
          JSON.stringify(input.allowIp),
          JSON.stringify(input.endpoint),
          "never" in expires,
          "at" in expires ? expires.at : null,
          "afterMs" in expires ? expires.afterMs : null,
        ],
      );
      return {
        id,
        key,
        expires_at: rows[0]?.expires_at?.toISOString() ?? null,
        url: stack.descriptor.api.url,
      };
    });
  },
  render: ({ id, key, expires_at, url }, paint) =>
    [
      paint.bold(key),
      "",
      `This is the only time that the key is shown. Its id is ${id}; it ${expires_at === null ? "never expires" : `expires at ${expires_at}`}.`,
      "",
      `next: curl -H "X-API-Key: $KEY" ${url}/api/database/tasks`,
    ].join("\n"),
});
