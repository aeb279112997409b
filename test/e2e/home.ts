import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client, type QueryResult } from "pg";
import {
  readCredential,
  readDescriptor,
  stackPaths,
  type Descriptor,
  type StackPaths,
} from "#stack";
import { endProcesses, stackProcesses } from "#runtime";
import { makeDirectory, run } from "#system";
import {
  asSuperuser,
  loginSettings,
  provisioningOf,
  using,
} from "../../infra/postgres/connection.ts";

export const checkout = fileURLToPath(new URL("../..", import.meta.url));

/** What a finished command left. */
export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/**
 * A CTM_HOME of a test's own, used as a person would from a shell with nothing exported.
 * `end` takes away whatever was started in it, also when a test failed half-way.
 */
export class Home {
  readonly directory: string;
  readonly stack = "local";
  readonly paths: StackPaths;
  /** Environment of a person's shell: no variable of Pulumi's, no Node of ours. */
  readonly env: NodeJS.ProcessEnv;

  private constructor(directory: string, env: NodeJS.ProcessEnv) {
    this.directory = directory;
    this.env = { ...env, CTM_HOME: directory };
    this.paths = stackPaths(this.stack, this.env);
  }

  static async create(extra: NodeJS.ProcessEnv = {}): Promise<Home> {
    const directory = await mkdtemp(join(tmpdir(), "ctm-e2e-"));
    // Other OS users run services below it.
    await makeDirectory(directory, { mode: 0o755 });
    return new Home(directory, { ...plainEnvironment(), ...extra });
  }

  /** Runs this checkout's `ctm`, as `npx ctm` would. */
  async ctm(...args: string[]): Promise<Ended> {
    return await execute("node", [join(checkout, "bin/ctm"), ...args], {
      cwd: "/",
      env: this.env,
    });
  }

  /** As `ctm`, failing the test with all output when it does not exit 0. */
  async must(...args: string[]): Promise<string> {
    return mustSucceed(`ctm ${args.join(" ")}`, await this.ctm(...args));
  }

  /** The JSON document of a `ctm` command, whatever its exit code. */
  async json<T = Record<string, never>>(...args: string[]): Promise<T> {
    const ended = await this.ctm(...args, "--json");
    try {
      return JSON.parse(ended.stdout) as T;
    } catch {
      throw new Error(`ctm ${args.join(" ")} --json printed no JSON:\n${shown(ended)}`);
    }
  }

  /** Sets a value of the stack's configuration with plain pulumi; `ctm` makes the stack for it. */
  async configure(key: string, value: string): Promise<void> {
    const variables = JSON.parse(await this.must("env", "--json")) as NodeJS.ProcessEnv;
    await run("pulumi", ["config", "set", key, value], {
      cwd: checkout,
      env: { ...this.env, ...variables },
    });
  }

  async descriptor(): Promise<Descriptor> {
    return await readDescriptor(this.stack, this.paths);
  }

  /** Runs SQL as superuser on the leader. */
  async superuser(sql: string, database = "taskmaster"): Promise<QueryResult> {
    return await asSuperuser(provisioningOf(await this.descriptor()), database, (client) =>
      client.query(sql),
    );
  }

  /** Runs SQL as the owner through the read-write or read-only port. */
  async owner(
    sql: string,
    port: "rw" | "ro" = "rw",
    values: readonly string[] = [],
  ): Promise<QueryResult> {
    const { postgres, tls } = await this.descriptor();
    const settings = await loginSettings(
      { ...postgres[port], authority: tls.authority },
      {
        user: postgres.migrator,
        password: await readCredential(this.paths, "ctm_migrator"),
        database: postgres.database,
      },
    );
    return await using(new Client(settings), async (client) => {
      await client.query("SET ROLE ctm_owner");
      return await client.query(sql, [...values]);
    });
  }

  /** Kills every process of the stack at once, as a power cut does. */
  async killAll(): Promise<void> {
    for (const pid of await stackProcesses(this.paths.state)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Ended with its parent.
      }
    }
    await endProcesses(await stackProcesses(this.paths.state), 10_000);
  }

  async end(): Promise<void> {
    await this.ctm("down", "--yes", "--purge").catch(() => undefined);
    await endProcesses(await stackProcesses(this.paths.state), 20_000);
    await rm(this.directory, { recursive: true, force: true });
    await rm(join(checkout, `Pulumi.${this.stack}.yaml`), { force: true });
  }
}

/** A login shell's environment: found tools, nothing of ours. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const cache = process.env["CTM_CACHE"];
  return {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin",
    HOME: process.env["HOME"] ?? "/root",
    ...(cache === undefined ? {} : { CTM_CACHE: cache }),
  };
}

/** Below the deadline of a test (vitest.config.ts), which would not show what the program said. */
const executeMs = 280_000;

/** Runs a program to its end, output captured; one that hangs is interrupted, and its output kept. */
export async function execute(
  command: string,
  args: readonly string[],
  options: {
    cwd?: string;
    env?: NodeJS.ProcessEnv;
    input?: string;
    uid?: number;
    gid?: number;
  } = {},
): Promise<Ended> {
  return await new Promise((resolve, reject) => {
    const { input, ...rest } = options;
    const child = spawn(command, args, { ...rest, stdio: ["pipe", "pipe", "pipe"] });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input ?? "");
    const hangs = setTimeout(() => {
      stderr += `\ninterrupted after ${executeMs / 1000} s`;
      child.kill("SIGTERM");
    }, executeMs);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      clearTimeout(hangs);
      resolve({ code: code ?? (signal === null ? 1 : 137), stdout, stderr });
    });
  });
}

export function mustSucceed(what: string, ended: Ended): string {
  if (ended.code !== 0) throw new Error(`${what} exited ${ended.code}:\n${shown(ended)}`);
  return ended.stdout;
}

export function shown({ stdout, stderr }: Ended): string {
  return `stdout: ${stdout.slice(-6000)}\nstderr: ${stderr.slice(-6000)}`;
}

export async function fileText(path: string): Promise<string> {
  return await readFile(path, "utf8");
}
