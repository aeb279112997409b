import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { CtmError, messageOf, run, systemErrorCode } from "#system";
import type { Artifact } from "./artifacts.ts";
import { elapsedSince, progressIntervalMs } from "./elapsed.ts";

/** Where Pulumi publishes the CLI (`sdk/`) and its plugins (`plugins/`). */
export const officialDownloads = "https://get.pulumi.com/releases";

/** A server that has not begun to answer by then is as good as unreachable. */
const answerDeadlineMs = 5_000;
/** Longest pause inside a download before it counts as broken off. */
const stallDeadlineMs = 30_000;

/** The download cannot be had from here: build instead. */
export class DownloadUnavailable extends Error {}

/**
 * Pulumi's releases, or a mirror of them. A server that has not answered is not asked again, so a
 * network without it costs five seconds, and not five for each artifact.
 */
export class Downloads {
  readonly #base: string;
  readonly #report: (line: string) => void;
  #unavailable: string | undefined;

  /** @param base URL of the releases; "off" for a network that is known to have none */
  constructor(base: string, report: (line: string) => void) {
    this.#base = base.replace(/\/+$/, "");
    this.#report = report;
    if (base === "off") this.#unavailable = "downloads are off (CTM_PULUMI_DOWNLOADS)";
  }

  /**
   * Downloads an artifact, checks it and unpacks it into `folder`.
   *
   * @throws DownloadUnavailable when the server does not answer or has no such file
   * @throws CtmError `checksum-mismatch`
   */
  async fetchInto(artifact: Artifact, folder: string): Promise<void> {
    if (this.#unavailable !== undefined) throw new DownloadUnavailable(this.#unavailable);
    const { archive, checksums, members, strip } = artifact.download;
    const expected = findChecksum(await this.#text(checksums), archive);
    if (expected === undefined) {
      throw new DownloadUnavailable(`${this.#base}/${checksums} does not list ${archive}`);
    }
    const file = join(folder, "archive.tar.gz");
    const actual = await this.#save(archive, file, expected.algorithm, artifact.title);
    if (actual !== expected.hex) {
      throw new CtmError(
        "checksum-mismatch",
        `${this.#base}/${archive} has the ${expected.algorithm} checksum ${actual}, and ${checksums} says ${expected.hex}`,
        { next: "run again; if it stays, find out who changes downloads on this network" },
      );
    }
    const unpack = ["--no-same-owner", `--strip-components=${strip}`, "--wildcards"];
    await run("tar", ["-xzf", file, "-C", folder, ...unpack, ...members], { timeoutMs: 300_000 });
    await rm(file);
  }

  async #text(path: string): Promise<string> {
    const response = await this.#request(path, AbortSignal.timeout(answerDeadlineMs));
    try {
      return await response.text();
    } catch (error) {
      throw this.#broken(path, error);
    }
  }

  /** Saves a file and returns its checksum. */
  async #save(path: string, file: string, algorithm: string, title: string): Promise<string> {
    const url = `${this.#base}/${path}`;
    const stalled = new AbortController();
    let timer = setTimeout(() => stalled.abort(), answerDeadlineMs);
    const started = Date.now();
    let bytes = 0;
    const progress = setInterval(() => {
      const megabytes = Math.round(bytes / 1_000_000);
      this.#report(`downloading ${title}: ${megabytes} MB in ${elapsedSince(started)} so far`);
    }, progressIntervalMs);
    try {
      const response = await this.#request(path, stalled.signal);
      if (response.body === null) throw new DownloadUnavailable(`${url} is empty`);
      const total = Number(response.headers.get("content-length") ?? 0);
      const size = total === 0 ? "" : ` (${Math.ceil(total / 1_000_000)} MB)`;
      this.#report(`downloading ${title} from ${url}${size}`);
      const hash = createHash(algorithm);
      await pipeline(
        Readable.fromWeb(response.body),
        async function* (chunks: AsyncIterable<Uint8Array>) {
          for await (const chunk of chunks) {
            clearTimeout(timer);
            timer = setTimeout(() => stalled.abort(), stallDeadlineMs);
            bytes += chunk.length;
            hash.update(chunk);
            yield chunk;
          }
        },
        createWriteStream(file),
      );
      return hash.digest("hex");
    } catch (error) {
      if (!stalled.signal.aborted || bytes === 0) throw this.#broken(path, error);
      this.#unavailable = `${url} sent nothing for ${stallDeadlineMs / 1000} s`;
      throw new DownloadUnavailable(this.#unavailable, { cause: error });
    } finally {
      clearTimeout(timer);
      clearInterval(progress);
    }
  }

  async #request(path: string, signal: AbortSignal): Promise<Response> {
    const url = `${this.#base}/${path}`;
    let response: Response;
    try {
      response = await fetch(url, { signal });
    } catch (error) {
      throw this.#broken(path, error);
    }
    if (response.ok) return response;
    await response.body?.cancel();
    throw new DownloadUnavailable(`${url} answered ${response.status}`);
  }

  /** Network trouble means building instead; a full disk would stop the build as well. */
  #broken(path: string, error: unknown): unknown {
    if (error instanceof DownloadUnavailable || systemErrorCode(error) === "ENOSPC") return error;
    const silent = error instanceof Error && /abort|timeout/i.test(error.name);
    const reason = silent
      ? `did not answer within ${answerDeadlineMs / 1000} s`
      : `did not answer: ${innermostMessage(error)}`;
    this.#unavailable = `${this.#base} ${reason}`;
    return new DownloadUnavailable(`${this.#base}/${path} ${reason}`, { cause: error });
  }
}

/** fetch() only says "fetch failed"; the reason is its cause. */
function innermostMessage(error: unknown): string {
  return error instanceof Error && error.cause !== undefined
    ? innermostMessage(error.cause)
    : messageOf(error);
}

/**
 * The checksum of a file in the output of shasum. Pulumi publishes SHA-256 for the CLI and SHA-1
 * (shasum's default) for plugins; the length tells which.
 */
export function findChecksum(
  list: string,
  archive: string,
): { algorithm: "sha256" | "sha1"; hex: string } | undefined {
  const name = archive.slice(archive.lastIndexOf("/") + 1);
  for (const line of list.split("\n")) {
    const [, hex, file] =
      /^([0-9a-f]{40}|[0-9a-f]{64})\s+\*?(?:\.\/)?(\S+)$/.exec(line.trim()) ?? [];
    if (hex === undefined || file !== name) continue;
    return { algorithm: hex.length === 64 ? "sha256" : "sha1", hex };
  }
  return undefined;
}
