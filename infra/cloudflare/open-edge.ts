import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { CtmError } from "#system";
import type { StackPaths } from "#stack";
import type { ApiConfiguration } from "../../api/index.ts";
import type { Configuration } from "../config.ts";
import { findCloudflared } from "./cloudflared.ts";
import { EdgeFiles } from "./edge-files.ts";

/** The stack output `edge`, as another stack reads it. */
const edgeOutput = z.looseObject({
  hostname: z.string(),
  team: z.string(),
  audience: z.string(),
  tunnelToken: z.string(),
  /** Path of cloudflared, where it is not at its usual place. */
  cloudflared: z.string().optional(),
});

/** What a stack's own parts need to know of its edge. */
export interface OpenEdge {
  /** Where clients reach the API. */
  url: string;
  /** Whose tokens the API demands. */
  access: pulumi.Output<NonNullable<ApiConfiguration["access"]>>;
  /** Of cloudflared on this host. */
  executable: string;
  /** Secret: what cloudflared opens the tunnel with. */
  tunnelToken: pulumi.Output<string>;
  /** What another stack and people read: `pulumi stack output edge --show-secrets`. */
  outputs: { edge?: pulumi.Output<unknown> };
}

export interface OpenEdgeArguments {
  /** The API's own address, to which the tunnel leads. */
  origin: pulumi.Output<string>;
  paths: StackPaths;
  /** What must exist before files are written. */
  after: pulumi.Resource[];
}

/**
 * The edge before the API: made here, taken from the stack that holds it, or undefined where none
 * is configured. Cloudflare's SDK is loaded where it is used only: it takes a second.
 *
 * @throws CtmError `stack-has-no-edge`, those of cloudflared.ts, and what the rules say of the plan
 */
export async function openEdge(
  configuration: Configuration,
  { origin, paths, after }: OpenEdgeArguments,
): Promise<OpenEdge | undefined> {
  const { cloudflare: settings, cloudflareToken: token, cloudflareStack } = configuration;
  if (cloudflareStack !== undefined) return await referenced(cloudflareStack);
  if (settings === undefined || token === undefined) return undefined;
  const { hostname, team, standalone } = settings;
  // Where the edge is a stack of its own, cloudflared runs beside the other stack's API.
  const executable = standalone === undefined ? await findCloudflared(settings.cloudflared) : "";
  const { Edge } = await import("./edge.ts");
  const { audience, tunnelToken, serviceTokens } = new Edge("edge", { settings, token, origin });
  new EdgeFiles("edge-files", { paths, settings, token, serviceTokens, after });
  return {
    url: `https://${hostname}`,
    access: audience.apply((tag) => accessOf(team, tag)),
    executable,
    tunnelToken,
    outputs: {
      edge: pulumi.secret({
        hostname,
        team,
        audience,
        tunnelToken,
        serviceTokens,
        ...(settings.cloudflared === undefined ? {} : { cloudflared: settings.cloudflared }),
      }),
    },
  };
}

/** A reference reads the other stack's state: Cloudflare itself is not asked. */
async function referenced(stack: string): Promise<OpenEdge> {
  const reference = new pulumi.StackReference(stack);
  const found: unknown = (await reference.getOutputDetails("edge")).secretValue;
  const edge = edgeOutput.safeParse(found);
  if (!edge.success) {
    throw new CtmError("stack-has-no-edge", `the stack ${stack} holds no Cloudflare part`, {
      next: `set ctm:cloudflare there, with standalone in it, and run npm run up -- --stack ${stack}`,
    });
  }
  const { hostname, team, audience, tunnelToken, cloudflared } = edge.data;
  return {
    url: `https://${hostname}`,
    access: pulumi.output(accessOf(team, audience)),
    executable: await findCloudflared(cloudflared),
    tunnelToken: pulumi.secret(tunnelToken),
    outputs: {},
  };
}

function accessOf(team: string, audience: string): NonNullable<ApiConfiguration["access"]> {
  const issuer = `https://${team}.cloudflareaccess.com`;
  return { issuer, audience, certificatesUrl: `${issuer}/cdn-cgi/access/certs` };
}
