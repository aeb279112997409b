import { cloudflareSchema, type CloudflareSettings } from "../../infra/cloudflare/settings.ts";
import { readCredential, stackPaths, type StackPaths } from "#stack";
import { CtmError, parseJson, readFileIfExists } from "#system";
import type { Context } from "../command.ts";
import { CloudflareClient } from "../../infra/cloudflare/cloudflare-client.ts";

/** A stack's Cloudflare part, as the last `up` left it. */
export interface OpenedEdge {
  paths: StackPaths;
  settings: CloudflareSettings;
}

/**
 * What `up` wrote of the edge: its settings, without a secret.
 *
 * @throws CtmError `no-edge`, `edge-unreadable`
 */
export async function openEdge(context: Pick<Context, "stack" | "env">): Promise<OpenedEdge> {
  const paths = stackPaths(context.stack, context.env);
  const text = await readFileIfExists(paths.edge);
  if (text === undefined) {
    throw new CtmError(
      "no-edge",
      `the stack "${context.stack}" has no Cloudflare part (${paths.edge} does not exist)`,
      { next: "docs/first-deploy.md says how one is made", exitCode: 2 },
    );
  }
  const parsed = cloudflareSchema.safeParse(parseJson(text));
  if (parsed.success) return { paths, settings: parsed.data };
  throw new CtmError("edge-unreadable", `${paths.edge} is not what this version of ctm writes`, {
    next: "npm run up writes it anew",
  });
}

/**
 * A client with the API token that `up` was given.
 *
 * @throws CtmError `credential-missing`, `no-permission`
 */
export async function openClient(
  { paths, settings }: OpenedEdge,
  { signal }: Pick<Context, "signal">,
): Promise<CloudflareClient> {
  const token = await readCredential(paths, "cloudflare-token");
  return new CloudflareClient({ token, baseUrl: settings.baseUrl, signal });
}
