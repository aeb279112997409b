import * as pulumi from "@pulumi/pulumi";
import { userInfo } from "node:os";
import { join } from "node:path";
import { isRoot } from "#system";
import type { Keep, StackPaths } from "#stack";
import { BootUnit, Directory, Host, Ports, Service, Supervisor } from "../../provider/resources.ts";
import type { FileContent } from "../../provider/types/file.ts";
import { bootUnit, bootUnitPath } from "./boot-unit.ts";
import type { PortRequest } from "./ports.ts";
import type { Readiness } from "./readiness.ts";
import {
  programConfiguration,
  supervisordConfiguration,
  supervisorPaths,
  type RuntimeDirectory,
} from "./supervisor.ts";

/** OS users of a local stack: as root two of their own, else the one who runs `up`. */
export interface SystemUsers {
  postgres: string;
  service: string;
}

export function systemUsers(): SystemUsers {
  const own = userInfo().username;
  return isRoot() ? { postgres: "postgres", service: "ctm" } : { postgres: own, service: own };
}

export interface LocalRuntimeArguments {
  paths: StackPaths;
  users: SystemUsers;
  /** Debian packages. */
  packages: readonly string[];
  ports: Readonly<Record<string, PortRequest>>;
  /** Folders below `paths.run` beside the stack's own. */
  runtimeDirectories: readonly RuntimeDirectory[];
  /** Whether a unit of systemd starts the stack at boot. */
  atBoot: boolean;
}

/** One process to keep running, as a component describes it. */
export interface ServiceDefinition {
  name: string;
  command: pulumi.Input<string[]>;
  user: string;
  environment?: Record<string, string>;
  files?: pulumi.Input<Record<string, FileContent>>;
  secretFiles?: pulumi.Input<Record<string, FileContent>>;
  initialFiles?: pulumi.Input<Record<string, FileContent>>;
  /** Outputs whose change restarts the service. */
  restartWith?: Record<string, pulumi.Output<string>>;
  reloadSignal?: "HUP" | "USR2";
  listens: pulumi.Input<{ host: string; port: number }[]>;
  readiness: pulumi.Input<Readiness>;
  readyTimeoutSeconds: number;
  stopWaitSeconds: number;
  stopSignal?: "TERM" | "INT" | "USR1";
  /** Lower starts earlier and stops later. */
  priority: number;
}

/** The services of a stack as processes of this host, under one supervisord. */
export class LocalRuntime extends pulumi.ComponentResource {
  readonly ports: pulumi.Output<Record<string, number>>;
  /** Packages, users and the state folder: what everything else of the stack stands on. */
  readonly base: pulumi.Resource;
  readonly #paths: StackPaths;
  readonly #supervisor: Supervisor;
  readonly #state: Directory;

  constructor(
    name: string,
    args: LocalRuntimeArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:local:Runtime", name, {}, options);
    const { paths, users } = args;
    this.#paths = paths;
    const host = new Host(
      "host",
      { packages: [...args.packages], serviceUser: users.service },
      { parent: this },
    );
    const own = userInfo().username;
    const folder = (resource: string, path: string, mode: string): Directory =>
      new Directory(
        resource,
        { path, owner: own, mode, holdsDataOf: null, keep: null },
        { parent: this, dependsOn: host },
      );
    this.#state = folder("state", paths.state, "0755");
    this.base = this.#state;
    const log = folder("log", paths.log, "0755");
    const ports = new Ports(
      "ports",
      { directory: paths.state, requests: { ...args.ports } },
      { parent: this, dependsOn: this.#state },
    );
    this.ports = ports.ports;
    const supervisor = supervisorPaths(paths);
    this.#supervisor = new Supervisor(
      "supervisor",
      {
        paths: supervisor,
        directories: runtimeDirectories(args),
        configuration: supervisordConfiguration(supervisor),
        state: "running",
      },
      { parent: this, dependsOn: [this.#state, log, ports] },
    );
    if (args.atBoot) {
      new BootUnit(
        "boot",
        {
          path: bootUnitPath(paths.stack),
          content: bootUnit(paths.stack, supervisor, runtimeDirectories(args)),
          enabled: true,
        },
        { parent: this, dependsOn: this.#supervisor },
      );
    }
    this.registerOutputs({});
  }

  /** A folder that holds data: never adopted from others, never deleted without a word. */
  data(name: string, path: string, owner: string, keep: Keep | null = null): Directory {
    return new Directory(
      name,
      { path, owner, mode: "0700", holdsDataOf: this.#paths.stack, keep },
      { parent: this, dependsOn: this.#state, protect: true },
    );
  }

  /** A folder of working files, lost without harm. */
  folder(name: string, path: string, owner: string, mode = "0700"): Directory {
    return new Directory(
      name,
      { path, owner, mode, holdsDataOf: null, keep: null },
      { parent: this, dependsOn: this.#state },
    );
  }

  service(
    definition: ServiceDefinition,
    parent: pulumi.Resource,
    after: pulumi.Resource[],
  ): Service {
    const log = join(this.#paths.log, `${definition.name}.log`);
    const program = pulumi.output(definition.command).apply((command) =>
      programConfiguration({
        name: definition.name,
        command,
        user: definition.user,
        environment: definition.environment ?? {},
        log,
        stopWaitSeconds: definition.stopWaitSeconds,
        stopSignal: definition.stopSignal ?? "TERM",
        priority: definition.priority,
      }),
    );
    return new Service(
      definition.name,
      {
        name: definition.name,
        supervisor: supervisorPaths(this.#paths),
        program,
        log,
        files: definition.files ?? {},
        secretFiles: definition.secretFiles ?? {},
        initialFiles: definition.initialFiles ?? {},
        restartWith: pulumi.all(definition.restartWith ?? {}),
        reloadSignal: definition.reloadSignal ?? null,
        listens: definition.listens,
        readiness: definition.readiness,
        readyTimeoutSeconds: definition.readyTimeoutSeconds,
        state: "running",
      },
      { parent, dependsOn: [this.#supervisor, ...after] },
    );
  }
}

/** Every folder below /run that the stack's services need, the stack's own first. */
export function runtimeDirectories(
  args: Pick<LocalRuntimeArguments, "paths" | "runtimeDirectories">,
): RuntimeDirectory[] {
  return [
    { path: args.paths.run, owner: userInfo().username, mode: "0755" },
    ...args.runtimeDirectories,
  ];
}
