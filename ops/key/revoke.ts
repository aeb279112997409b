import { z } from "zod";
import { defineCommand } from "../command.ts";
import { asOwner } from "../facts/connection.ts";
import { openStack } from "../open-stack.ts";
import { required } from "../parameters.ts";
import { findKey, keyDocument } from "./key-row.ts";
import { keyReference } from "./parameters.ts";

export const command = defineCommand({
  help: "Switches an API key off for good: requests with it are refused within ten seconds. Its row stays, so that logs can be read. A key that is revoked already stays so.",
  examples: [
    { run: "ctm key revoke ctm_0123456789abcdef", does: "by the first 20 characters of the key" },
  ],
  arguments: { key: required("KEY", "id, or first 20 characters", keyReference) },
  flags: {},
  destructive: true,
  document: z.strictObject({ key: keyDocument, changed: z.boolean() }),
  async run({ key: reference }, context) {
    const stack = await openStack(context);
    const before = await asOwner(stack, (client) => findKey(client, reference));
    if (before.state === "revoked") return { key: before, changed: false };
    await context.confirm(
      `The API key "${before.name}" of ${before.user} (${before.prefix}…) will be refused within ten seconds.`,
    );
    const key = await asOwner(stack, async (client) => {
      await client.query("UPDATE public.api_keys SET is_active = false WHERE id = $1", [before.id]);
      return await findKey(client, before.id);
    });
    return { key, changed: true };
  },
  render: ({ key, changed }) =>
    `"${key.name}" of ${key.user} (${key.prefix}…) is ${changed ? "" : "already "}revoked\n\nnext: ctm key list`,
});
