import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import { CtmError, type Identity } from "#system";

/** A program to which a command leaves the terminal. */
export interface Guest {
  command: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** Numeric OS user to run as; our own by default. */
  identity?: Identity;
}

/**
 * Who a signal is for: the command, whose work is then aborted, or the program that has the
 * terminal (psql uses Ctrl-C to cancel a query, and must not lose its parent over it).
 */
export class Interrupts {
  readonly #controller = new AbortController();
  #guest: ChildProcess | undefined;

  /** Aborted by the first signal that is meant for us. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Takes a signal that this process got. False when it is the second one: end at once then. */
  receive(name: NodeJS.Signals): boolean {
    if (this.#guest !== undefined) {
      // The terminal gives Ctrl-C to its whole foreground group, the guest included.
      const delivered = name === "SIGINT" && process.stdin.isTTY;
      if (!delivered) this.#guest.kill(name);
      return true;
    }
    if (this.#controller.signal.aborted) return false;
    this.#controller.abort(name);
    return true;
  }

  /**
   * Runs a program on our own standard streams and passes signals on to it.
   *
   * @returns its exit code, as a shell would say it: 128 and the number for a signal
   * @throws CtmError `command-not-found`
   */
  async handOver({ command, args, env, identity }: Guest): Promise<number> {
    const child = spawn(command, args, { env, stdio: "inherit", ...identity });
    this.#guest = child;
    try {
      return await new Promise<number>((resolve, reject) => {
        child.on("error", (cause: NodeJS.ErrnoException) => {
          reject(
            new CtmError(
              cause.code === "ENOENT" ? "command-not-found" : "command-failed",
              cause.code === "ENOENT" ? `${command} is not installed` : cause.message,
              { next: "ctm doctor", cause },
            ),
          );
        });
        child.on("close", (code, signal) => {
          resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]);
        });
      });
    } finally {
      this.#guest = undefined;
    }
  }
}
