import * as pulumi from "@pulumi/pulumi";
import {
  bundleCopier,
  farRoundSeconds,
  type CopierConfiguration,
} from "../../ops/recovery/index.ts";
import type { Configuration } from "../config.ts";
import { Bundle } from "../provider/resources.ts";
import type { LocalRuntime, SystemUsers } from "../runtime/local/local-runtime.ts";
import type { Security } from "../security.ts";
import { stanzaName, type Topology } from "../topology.ts";
import { farBackrestConfiguration } from "./backrest-configuration.ts";
import { rcloneConfiguration, rclonePath, type FarRepository } from "./far-repository.ts";

export interface FarCopyArguments {
  configuration: Configuration;
  far: FarRepository;
  topology: Topology;
  users: SystemUsers;
  runtime: LocalRuntime;
  security: Security;
  /** A Node that PostgreSQL's user can run. */
  node: string;
  /** Of the bundle that this checkout builds. */
  bundleSha256: string;
  /** The near repository, and the configuration that reads it. */
  after: pulumi.Resource[];
}

/**
 * The copy of the near repository in another region, kept by a service of its own: pgBackRest with
 * two repositories stops archiving to both when one is down (docs/decisions/0070-far-copy.md).
 */
export class FarCopy extends pulumi.ComponentResource {
  static async create(
    name: string,
    args: Omit<FarCopyArguments, "bundleSha256">,
    options: pulumi.ComponentResourceOptions = {},
  ): Promise<FarCopy> {
    const { sha256 } = await bundleCopier();
    return new FarCopy(name, { ...args, bundleSha256: sha256 }, options);
  }

  private constructor(
    name: string,
    args: FarCopyArguments,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("ctm:backup:FarCopy", name, {}, options);
    const { configuration, far, topology, users, runtime, security } = args;
    const places = topology.far;
    const [member] = topology.members;
    if (member === undefined) throw new Error("the topology has no member");
    // Its state is for everybody's eyes; each file with a key is not.
    const folder = runtime.folder("far", places.folder, users.postgres, "0755");
    const bundle = new Bundle(
      "copier-bundle",
      { program: "copier", path: places.bundle, sha256: args.bundleSha256 },
      { parent: this, dependsOn: folder },
    );
    const file = (content: string): { content: string; mode: string; owner: string } => ({
      content,
      mode: "0600",
      owner: users.postgres,
    });
    const settings: CopierConfiguration = {
      stanza: stanzaName,
      near: topology.repository,
      far: rclonePath(far),
      rclone: places.rclone,
      authority: far.authority,
      backrest: member.backrestConfiguration,
      state: places.state,
      windowDays: configuration.windowDays,
      everySeconds: farRoundSeconds,
    };
    runtime.service(
      {
        name: "copier",
        command: [args.node, places.bundle, "--config", places.configuration],
        user: users.postgres,
        environment: { HOME: places.folder },
        files: { [places.configuration]: file(`${JSON.stringify(settings, null, 2)}\n`) },
        secretFiles: pulumi.secret(
          security.repositoryCipher.value.apply((passphrase) => ({
            [places.rclone]: file(rcloneConfiguration(far)),
            [places.backrest]: file(
              farBackrestConfiguration({
                far,
                passphrase,
                stanza: stanzaName,
                dataDirectory: member.dataDirectory,
                lock: topology.backrestLock,
                log: topology.backrestLog,
                cores: topology.cores,
              }),
            ),
          })),
        ),
        restartWith: { bundle: pulumi.output(args.bundleSha256) },
        listens: [],
        readiness: { kind: "heartbeat", path: places.state },
        // A far place that is down costs its own deadlines before the first sign of life.
        readyTimeoutSeconds: 120,
        stopWaitSeconds: 15,
        priority: 45,
      },
      this,
      [bundle, ...args.after],
    );
    this.registerOutputs({});
  }
}
