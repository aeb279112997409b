import { z } from "zod";
import { readCredential, type StackPaths } from "#stack";

const shape = z.record(
  z.string(),
  z.strictObject({ clientId: z.string(), clientSecret: z.string() }),
);

/** What a program presents in CF-Access-Client-Id and CF-Access-Client-Secret. */
export type AccessToken = z.infer<typeof shape>[string];

/**
 * Every service token of the stack by NAME-GENERATION, as `up` wrote them.
 *
 * @throws CtmError `credential-missing`, `no-permission`
 */
export async function readAccessTokens(paths: StackPaths): Promise<Record<string, AccessToken>> {
  return shape.parse(JSON.parse(await readCredential(paths, "access-tokens")));
}
