import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { CtmError, run, type Identity } from "#system";
import type { FarFiles } from "./plan.ts";

/**
 * Debian's rclone (1.60) with one remote. Every call is bounded, so that a far place that accepts
 * connections and then says nothing is found to be down.
 */
export class Rclone {
  readonly #configuration: string;
  readonly #far: string;
  readonly #options: { identity?: Identity; authority?: string };

  /**
   * @param far rclone's name of the far place
   * @param options.identity OS user to run as, where that is not ours
   * @param options.authority PEM file of the CA that signed its certificate; those of the system
   *   where it is not given
   */
  constructor(
    configuration: string,
    far: string,
    options: { identity?: Identity; authority?: string } = {},
  ) {
    this.#configuration = configuration;
    this.#far = far;
    this.#options = options;
  }

  /** Every file of the far place, by path. */
  async list(): Promise<FarFiles> {
    const { stdout } = await this.#run(
      ["lsjson", "--recursive", "--files-only", "--fast-list", "--no-modtime", "--no-mimetype"],
      [this.#far],
    );
    return new Map(listing.parse(JSON.parse(stdout)).map(({ Path, Size }) => [Path, Size]));
  }

  /** Copies these files, each compared with its checksum after the transfer. */
  async copy(from: string, paths: readonly string[]): Promise<void> {
    await this.#withList(paths, (list) =>
      this.#run(
        ["copy", "--no-check-dest", "--transfers=8", `--files-from-raw=${list}`],
        [from, this.#far],
      ),
    );
  }

  /** Copies everything to a folder here; what is there with the same size and time is not fetched. */
  async fetch(to: string): Promise<void> {
    await this.#run(["copy", "--transfers=8"], [this.#far, to], fetchMs);
  }

  async remove(paths: readonly string[]): Promise<void> {
    await this.#withList(paths, (list) =>
      this.#run(["delete", `--files-from-raw=${list}`], [this.#far]),
    );
  }

  async #run(
    args: readonly string[],
    places: readonly string[],
    timeoutMs = runMs,
  ): Promise<{ stdout: string }> {
    const { identity, authority } = this.#options;
    // rclone would go on to try the other files, slower with each, and be away for minutes.
    const unreachable = new AbortController();
    const failure: string[] = [];
    const finished = await run(
      "rclone",
      [
        `--config=${this.#configuration}`,
        "--contimeout=10s",
        "--timeout=60s",
        "--retries=1",
        "--low-level-retries=3",
        ...args,
        ...places,
      ],
      {
        timeoutMs,
        cwd: "/",
        accept: failures,
        signal: unreachable.signal,
        onLine: (line) => {
          const first = failure.length === 0;
          if (first && !/ERROR : .*RequestError: send request failed/.test(line)) return;
          // The line behind it tells the cause.
          if (failure.push(line) === 2) unreachable.abort();
        },
        ...(identity === undefined ? {} : { identity }),
        // The caller's AWS_… and RCLONE_… variables would lead elsewhere.
        env: {
          PATH: process.env["PATH"] ?? "/usr/bin:/bin",
          HOME: "/nonexistent",
          LC_ALL: "C.UTF-8",
          ...(authority === undefined ? {} : { SSL_CERT_FILE: authority }),
        },
      },
    );
    const ended = unreachable.signal.aborted;
    if (finished.code === 0 && !ended) return finished;
    const said = ended ? failure : finished.stderr.split("\n").filter((line) => line.trim() !== "");
    // The last line sums up; without a time, so that the same failure has the same words.
    const why = said.at(-1)?.replace(/^\S+ \S+ (ERROR|NOTICE)?\s*:?\s*/, "") ?? "";
    throw new CtmError("far-failed", `rclone ${args[0]} of ${this.#far}: ${why}`);
  }

  async #withList(paths: readonly string[], work: (list: string) => Promise<unknown>) {
    const folder = await mkdtemp(join(tmpdir(), "ctm-copier-"));
    try {
      const list = join(folder, "files");
      await writeFile(list, `${paths.join("\n")}\n`, { mode: 0o600 });
      await work(list);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

const listing = z.array(z.object({ Path: z.string(), Size: z.int() }));

/** A whole repository, over a slow line. */
const fetchMs = 24 * 3_600_000;

/** rclone's exit codes (https://rclone.org/docs/#exit-code). */
const failures = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/** One call moves a bounded share (see copier.ts); what takes longer hangs. */
const runMs = 3_600_000;
