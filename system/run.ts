import { spawn } from "node:child_process";
import { CtmError } from "./error.ts";

/** What a finished subprocess left behind. */
export interface Finished {
  /** Exit code; null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  cwd?: string;
  /** Replaces the whole environment; by default the subprocess inherits ours. */
  env?: NodeJS.ProcessEnv;
  /** Written to standard input, which is then closed. Without it, standard input is empty. */
  input?: string;
  /** Deadline in milliseconds; the subprocess is then killed. Default one minute. */
  timeoutMs?: number;
  /** Numeric identity to run as (root only). */
  identity?: { uid: number; gid: number };
  /** Called with each line of output as it arrives (both streams). */
  onLine?: (line: string) => void;
  /** Ends the subprocess when it is aborted; that is then no failure. */
  signal?: AbortSignal;
  /** Exit codes that are not failures. Default [0]. */
  accept?: readonly number[];
}

const keepBytes = 16 * 1024 * 1024;

/**
 * Runs a program with an argument list, never through a shell, and returns its output.
 *
 * @throws CtmError `command-not-found`, `command-timeout` or `command-failed`, with the last lines
 *   of its output. Arguments appear in the message: never pass a secret as one.
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ["pipe", "pipe", "pipe"],
    ...options.identity,
  });
  let stdout = "";
  let stderr = "";
  let timedOut = false;
  const collect = (stream: NodeJS.ReadableStream, append: (text: string) => void): void => {
    let partial = "";
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      append(text);
      if (options.onLine === undefined) return;
      const lines = (partial + text).split("\n");
      partial = lines.pop() ?? "";
      for (const line of lines) options.onLine(line);
    });
    stream.on("end", () => {
      if (partial !== "") options.onLine?.(partial);
    });
  };
  collect(child.stdout, (text) => {
    if (stdout.length < keepBytes) stdout += text;
  });
  collect(child.stderr, (text) => {
    if (stderr.length < keepBytes) stderr += text;
  });
  // A program may exit without reading what it was given; that is its choice, not our failure.
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");

  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, timeoutMs);
  const end = (): void => void child.kill("SIGTERM");
  if (options.signal?.aborted === true) end();
  else options.signal?.addEventListener("abort", end, { once: true });
  const shown = [command, ...args].join(" ");
  const finished = await new Promise<Finished>((resolve, reject) => {
    child.on("error", (error: NodeJS.ErrnoException) => {
      reject(
        error.code === "ENOENT"
          ? new CtmError("command-not-found", `${command} is not installed or not on PATH`, {
              next: "ctm doctor",
            })
          : new CtmError("command-failed", `${shown}: ${error.message}`, { cause: error }),
      );
    });
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  }).finally(() => {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", end);
  });

  if (timedOut) {
    throw new CtmError(
      "command-timeout",
      `${shown} did not finish within ${Math.round(timeoutMs / 1000)} s${lastLines(stderr || stdout)}`,
    );
  }
  if (options.signal?.aborted === true) return finished;
  if (!(options.accept ?? [0]).includes(finished.code ?? -1)) {
    throw new CtmError(
      "command-failed",
      `${shown} ended with ${finished.signal ?? `exit code ${finished.code}`}${lastLines(stderr || stdout)}`,
    );
  }
  return finished;
}

function lastLines(output: string): string {
  const lines = output.trimEnd().split("\n").slice(-15);
  return lines.join("") === "" ? "" : `:\n  ${lines.join("\n  ")}`;
}
