import type { RunRequest } from "@pulumi/pulumi/proto/language_pb.js";
import { type ChildProcess, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";

/** How a run of the program ended: well, with an error, or with errors the user has seen. */
export interface ProgramResult {
  /** Shown by the engine. */
  error?: string;
  /** The program has reported its errors itself: the engine stops without adding another. */
  reported?: boolean;
}

/** Exit code of @pulumi/pulumi/cmd/run for "ended with errors, all of them already shown". */
const endedWithReportedErrors = 32;

/** What a program may take to end once it was asked to. */
const stopDeadlineMs = 5_000;

/** One run of the Pulumi program, as a process of its own. */
export class Program {
  readonly #process: ChildProcess;
  #stopped = false;

  /** @throws Error when the program's folder has no @pulumi/pulumi */
  constructor(request: RunRequest, engineAddress: string) {
    const { command, args, env } = invocation(request, engineAddress);
    // Our output is a pipe that the engine reads line by line into its log: the program writes
    // to it directly, so nothing is lost or reordered on the way.
    this.#process = spawn(command, args, {
      cwd: request.getPwd(),
      env,
      stdio: ["ignore", "inherit", "inherit"],
    });
  }

  /** Calls `report` once, when the process has ended or could not be started. */
  onEnd(report: (result: ProgramResult) => void): void {
    this.#process.once("error", (error) => {
      report({ error: `the program cannot be started: ${error.message}` });
    });
    this.#process.once("exit", (code, signal) => report(this.#resultOf(code, signal)));
  }

  /** Asks the program to end, and ends it when it does not. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#process.kill("SIGTERM");
    setTimeout(() => this.kill(), stopDeadlineMs).unref();
  }

  kill(): void {
    this.#process.kill("SIGKILL");
  }

  #resultOf(code: number | null, signal: NodeJS.Signals | null): ProgramResult {
    if (code === 0) return {};
    // The engine itself says that the update was cancelled.
    if (code === endedWithReportedErrors || this.#stopped) return { reported: true };
    return {
      error:
        signal === null
          ? `the program ended with exit code ${code}`
          : `the program was ended by ${signal}`,
    };
  }
}

/** The command line and environment by which @pulumi/pulumi runs a program. */
function invocation(
  request: RunRequest,
  engineAddress: string,
): { command: string; args: string[]; env: NodeJS.ProcessEnv } {
  const info = request.getInfo();
  const folder = info?.getProgramDirectory() || request.getPwd();
  // The program's own SDK, which need not be this checkout's.
  const runner = createRequire(join(folder, "package.json")).resolve(
    "@pulumi/pulumi/cmd/run/index.js",
  );
  const options = info?.getOptions()?.toJavaScript() ?? {};
  const nodeArguments =
    typeof options["nodeargs"] === "string" ? options["nodeargs"].split(" ") : [];
  const args = [
    // Type stripping is announced as experimental by every Node 22.
    "--disable-warning=ExperimentalWarning",
    `--import=${import.meta.resolve("./plain-stacks.ts")}`,
    ...nodeArguments.filter((argument) => argument !== ""),
    runner,
    ...named("monitor", request.getMonitorAddress()),
    ...named("engine", engineAddress),
    ...named("organization", request.getOrganization()),
    ...named("project", request.getProject()),
    ...named("root-directory", info?.getRootDirectory() ?? ""),
    ...named("stack", request.getStack()),
    ...named("pwd", request.getPwd()),
    ...named("parallel", String(request.getParallel())),
    ...(request.getDryrun() ? ["--dry-run"] : []),
    info?.getEntryPoint() || request.getProgram(),
    ...request.getArgsList(),
  ];
  const config = Object.fromEntries(request.getConfigMap().toArray());
  const env = {
    ...process.env,
    PULUMI_CONFIG: JSON.stringify(config),
    PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(request.getConfigsecretkeysList()),
  };
  return { command: process.execPath, args, env };
}

function named(flag: string, value: string): string[] {
  return value === "" ? [] : [`--${flag}`, value];
}
