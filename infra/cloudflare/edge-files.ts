import * as pulumi from "@pulumi/pulumi";
import { userInfo } from "node:os";
import { credentialPath, type CredentialName, type StackPaths } from "#stack";
import { File, SecretFile } from "../provider/resources.ts";
import type { ServiceTokenSecret } from "./access.ts";
import type { CloudflareSettings } from "./settings.ts";

export interface EdgeFilesArguments {
  paths: StackPaths;
  settings: CloudflareSettings;
  /** Cloudflare's API token. */
  token: string;
  serviceTokens: pulumi.Input<Record<string, ServiceTokenSecret>>;
  /** What must exist before files are written. */
  after: pulumi.Resource[];
}

/** What commands of the edge work from, without Pulumi: the settings, and two files of secrets. */
export class EdgeFiles extends pulumi.ComponentResource {
  constructor(
    name: string,
    args: EdgeFilesArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:EdgeFiles", name, {}, options);
    const { paths, settings, token, serviceTokens } = args;
    const own = { owner: userInfo().username, keep: null };
    const child = { parent: this, dependsOn: args.after };
    new File(
      "settings",
      { path: paths.edge, content: textOf(settings), mode: "0644", ...own },
      child,
    );
    const secret = (credential: CredentialName, content: pulumi.Input<string>): SecretFile =>
      new SecretFile(
        credential,
        { path: credentialPath(paths, credential), content, mode: "0600", ...own },
        { ...child, additionalSecretOutputs: ["content"] },
      );
    secret("cloudflare-token", pulumi.secret(`${token}\n`));
    secret("access-tokens", pulumi.secret(pulumi.output(serviceTokens).apply(textOf)));
    this.registerOutputs({});
  }
}

function textOf(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
