import * as pulumi from "@pulumi/pulumi";
import { join } from "node:path";
import { databaseName } from "../../database/roles.ts";
import { apiVersion, bundleApi, type ApiConfiguration } from "../../api/index.ts";
import { Bundle } from "../provider/resources.ts";
import type { LocalRuntime, SystemUsers } from "../runtime/local/local-runtime.ts";
import type { Readiness } from "../runtime/local/readiness.ts";
import type { Security } from "../security.ts";
import { listenAddress, portOf, type Topology } from "../topology.ts";

export interface ApiArguments {
  topology: Topology;
  users: SystemUsers;
  runtime: LocalRuntime;
  security: Security;
  /** Whose tokens every request must carry; undefined where no Cloudflare is before the API. */
  access: pulumi.Input<AccessSettings> | undefined;
  /** A Node that the service's user can run. */
  node: string;
  /** Of the bundle that this checkout builds. */
  bundleSha256: string;
  /** The schema and the logins that it needs. */
  after: pulumi.Resource[];
}

type AccessSettings = NonNullable<ApiConfiguration["access"]>;

/** The HTTP service, as one file run by an unprivileged user. */
export class Api extends pulumi.ComponentResource {
  readonly version = apiVersion;

  static async create(
    name: string,
    args: Omit<ApiArguments, "bundleSha256">,
    options: pulumi.ComponentResourceOptions = {},
  ): Promise<Api> {
    const { sha256 } = await bundleApi();
    return new Api(name, { ...args, bundleSha256: sha256 }, options);
  }

  private constructor(name: string, args: ApiArguments, options: pulumi.ComponentResourceOptions) {
    super("ctm:api:Api", name, {}, options);
    const { topology, users, runtime, security } = args;
    const folder = runtime.folder("api", topology.api.folder, users.service, "0755");
    const bundle = new Bundle(
      "bundle",
      { program: "api", path: topology.api.bundle, sha256: args.bundleSha256 },
      { parent: this, dependsOn: folder },
    );
    const passwordFiles = {
      ctm_api: join(topology.api.folder, "ctm_api.password"),
      ctm_query: join(topology.api.folder, "ctm_query.password"),
    };
    runtime.service(
      {
        name: "api",
        command: [args.node, topology.api.bundle, "--config", topology.api.configuration],
        user: users.service,
        environment: { NODE_ENV: "production" },
        files: pulumi.all([runtime.ports, pulumi.output(args.access)]).apply(([ports, access]) => ({
          [topology.api.configuration]: {
            content: `${JSON.stringify(this.#configuration(ports, security, access, passwordFiles), null, 2)}\n`,
            mode: "0600",
            owner: users.service,
          },
        })),
        secretFiles: pulumi.secret(
          pulumi
            .all([security.passwords.ctm_api.value, security.passwords.ctm_query.value])
            .apply(([api, query]) => ({
              [passwordFiles.ctm_api]: { content: `${api}\n`, mode: "0600", owner: users.service },
              [passwordFiles.ctm_query]: {
                content: `${query}\n`,
                mode: "0600",
                owner: users.service,
              },
            })),
        ),
        restartWith: {
          bundle: pulumi.output(args.bundleSha256),
          authority: security.authorityFingerprint,
        },
        listens: runtime.ports.apply((ports) => [
          { host: listenAddress, port: portOf(ports, "api") },
          { host: listenAddress, port: portOf(ports, "admin") },
        ]),
        readiness: runtime.ports.apply((ports): Readiness => ({
          kind: "http",
          host: listenAddress,
          port: portOf(ports, "admin"),
          path: "/ready",
          authority: null,
        })),
        readyTimeoutSeconds: 60,
        stopWaitSeconds: 15,
        priority: 40,
      },
      this,
      [bundle, ...args.after],
    );
    this.registerOutputs({});
  }

  #configuration(
    ports: Record<string, number>,
    security: Security,
    access: AccessSettings | undefined,
    passwordFiles: { ctm_api: string; ctm_query: string },
  ): ApiConfiguration {
    const at = (name: string): { host: string; port: number } => ({
      host: listenAddress,
      port: portOf(ports, name),
    });
    return {
      listen: at("api"),
      admin: at("admin"),
      database: {
        name: databaseName,
        authority: security.authorityPath,
        primary: at("readWrite"),
        readonly: at("readOnly"),
        user: "ctm_api",
        passwordFile: passwordFiles.ctm_api,
      },
      query: { user: "ctm_query", passwordFile: passwordFiles.ctm_query },
      // cloudflared is the only one that reaches the API with a token of Access: it comes from this
      // host, and the last address in X-Forwarded-For is the one that Cloudflare saw.
      ...(access === undefined ? {} : { access, trustedProxies: [listenAddress] }),
    };
  }
}
