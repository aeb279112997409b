import { CtmError, messageOf, run, systemErrorCode } from "#system";
import { spawn } from "node:child_process";
import { checkout, type Workspace } from "./environment.ts";

/** A stack of many members takes minutes; the deadline only catches an engine that hangs. */
const engineTimeoutMs = 60 * 60_000;

/**
 * Runs the Pulumi CLI in the checkout and returns what it printed.
 *
 * @throws CtmError `pulumi-failed`, with what Pulumi said
 */
export async function pulumi(
  workspace: Workspace,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<string> {
  const { stdout } = await runPulumi(workspace, args, options);
  return stdout;
}

/** As `pulumi`, for commands whose failure is an answer too. */
export async function runPulumi(
  workspace: Workspace,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number; acceptFailure?: boolean } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const finished = await run(workspace.engine.pulumi, [...args, "--non-interactive"], {
    cwd: checkout,
    env: { ...process.env, ...workspace.variables },
    timeoutMs: options.timeoutMs ?? engineTimeoutMs,
    accept: [0, ...Array.from({ length: 255 }, (_, index) => index + 1)],
    ...(options.input === undefined ? {} : { input: options.input }),
  });
  const code = finished.code ?? 1;
  if (code !== 0 && options.acceptFailure !== true) {
    const said = `${finished.stderr}\n${finished.stdout}`.trim();
    throw new CtmError("pulumi-failed", `pulumi ${args.join(" ")}: ${said}`, {
      next: "ctm doctor",
    });
  }
  return { code, stdout: finished.stdout, stderr: finished.stderr };
}

/**
 * Runs the Pulumi CLI where a person sees it work: on our own streams, its standard output on our
 * standard error, since standard output belongs to our result.
 *
 * @returns its exit code
 */
export async function showPulumi(
  workspace: Workspace,
  args: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  const child = spawn(workspace.engine.pulumi, args, {
    cwd: checkout,
    env: { ...process.env, ...workspace.variables },
    stdio: ["ignore", process.stderr, process.stderr, workspace.lockDescriptor ?? "ignore"],
  });
  // Pulumi ends its running steps first; killing it would leave pending operations behind.
  const interrupt = (): void => void child.kill("SIGINT");
  signal.addEventListener("abort", interrupt);
  try {
    return await new Promise((resolve, reject) => {
      child.once("error", (error) =>
        reject(new CtmError("pulumi-failed", messageOf(error), { cause: systemErrorCode(error) })),
      );
      child.once("close", (code) => resolve(code ?? 1));
    });
  } finally {
    signal.removeEventListener("abort", interrupt);
  }
}
