// The Pulumi program: configuration in, components out.
import * as pulumi from "@pulumi/pulumi";
import { CtmError } from "#system";
import { stackPaths } from "#stack";
import { openEdge } from "./cloudflare/open-edge.ts";
import { parseConfiguration } from "./config.ts";
import { platform } from "./platform.ts";
import { addressOf } from "./topology.ts";

/** A stack's outputs: what other stacks, and people who may, read of its edge. */
interface Outputs {
  edge?: pulumi.Output<unknown>;
}

async function program(): Promise<Outputs> {
  const configuration = parseConfiguration(pulumi.runtime.allConfig());
  const paths = stackPaths(pulumi.getStack());
  const { standalone } = configuration.cloudflare ?? {};
  const edge =
    standalone === undefined
      ? await platform(configuration, paths)
      : await openEdge(configuration, {
          origin: pulumi.output(addressOf(standalone.apiPort)),
          paths,
          after: [],
        });
  return edge?.outputs ?? {};
}

/** A person's mistake ends in its own words, without a stack trace. */
async function explained(): Promise<Outputs> {
  try {
    return await program();
  } catch (error) {
    if (error instanceof CtmError) throw new pulumi.RunError(error.text);
    throw error;
  }
}

export default await explained();
