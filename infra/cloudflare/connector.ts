import * as pulumi from "@pulumi/pulumi";
import type { LocalRuntime, SystemUsers } from "../runtime/local/local-runtime.ts";
import type { Readiness } from "../runtime/local/readiness.ts";
import { listenAddress, portNames, portOf, type Topology } from "../topology.ts";

export interface ConnectorArguments {
  topology: Topology;
  users: SystemUsers;
  runtime: LocalRuntime;
  /** Of cloudflared, as `findCloudflared` found it. */
  executable: string;
  /** The tunnel's token: whoever holds it can stand in for this machine. */
  token: pulumi.Input<string>;
  /** What has to be there before a request can come in: the API, and the tunnel's configuration. */
  after: pulumi.Resource[];
}

/**
 * cloudflared as a service of the stack: it dials out to Cloudflare, so no port of this machine is
 * open to the outside. What may come in through it is the tunnel's own configuration.
 */
export class Connector extends pulumi.ComponentResource {
  constructor(
    name: string,
    args: ConnectorArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:cloudflare:Connector", name, {}, options);
    const { topology, users, runtime } = args;
    const { folder, configuration, token } = topology.connector;
    const own = runtime.folder("cloudflared", folder, users.service);
    const metrics = runtime.ports.apply((ports) => ({
      host: listenAddress,
      port: portOf(ports, portNames.connector),
    }));
    runtime.service(
      {
        name: "cloudflared",
        command: metrics.apply(({ host, port }) =>
          connectorCommand(args.executable, { configuration, token, metrics: `${host}:${port}` }),
        ),
        user: users.service,
        files: {
          // Without a file of ours it would look for one in /etc/cloudflared, of whoever put it there.
          [configuration]: { content: "no-autoupdate: true\n", mode: "0600", owner: users.service },
        },
        secretFiles: pulumi.secret(
          pulumi.output(args.token).apply((text) => ({
            [token]: { content: `${text}\n`, mode: "0600", owner: users.service },
          })),
        ),
        listens: metrics.apply((address) => [address]),
        readiness: metrics.apply((address): Readiness => ({
          kind: "http",
          ...address,
          // 200 from the first connection to Cloudflare on, 503 without any.
          path: "/ready",
          authority: null,
        })),
        readyTimeoutSeconds: 60,
        stopWaitSeconds: graceSeconds + 5,
        priority: 50,
      },
      this,
      [own, ...args.after],
    );
    this.registerOutputs({});
  }
}

/** How long requests under way may take when it stops; the API's own limit is 30 s. */
const graceSeconds = 10;

/** The command line, which everybody on this machine can read: the token is in a file. */
function connectorCommand(
  executable: string,
  options: { configuration: string; token: string; metrics: string },
): string[] {
  const { configuration, token, metrics } = options;
  const tunnel = ["--config", configuration, "--metrics", metrics, "--grace-period"];
  return [executable, "tunnel", ...tunnel, `${graceSeconds}s`, "run", "--token-file", token];
}
