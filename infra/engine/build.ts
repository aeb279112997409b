import { access, constants } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { CtmError, run } from "#system";
import type { Artifact, Build } from "./artifacts.ts";
import { elapsedSince, progressIntervalMs } from "./elapsed.ts";

const buildDeadlineMs = 60 * 60_000;

/** Where the official and the Debian packages put Go, for a PATH without them. */
const usualGoFolders = ["/usr/local/go/bin", "/usr/lib/go/bin"];

export interface BuildOptions {
  /** Why it is not downloaded, for progress and errors: "… did not answer". */
  why: string;
  report: (line: string) => void;
  env: NodeJS.ProcessEnv;
  /** Where to look for Go after PATH. */
  goFolders?: readonly string[];
}

/**
 * Builds an artifact from its Go modules, as pinned by its go.mod and go.sum, into `folder`.
 * Go's own build cache keeps what a killed build has compiled. Returns how it was built.
 *
 * @throws CtmError `engine-not-available`, `engine-module-outdated`, `go-missing`, `go-too-old`,
 *   `disk-full`, `engine-build-failed`
 */
export async function buildInto(
  artifact: Artifact,
  folder: string,
  options: BuildOptions,
): Promise<Build> {
  const { build } = artifact;
  const { why, report } = options;
  if (build === undefined) {
    throw new CtmError(
      "engine-not-available",
      `${artifact.title} can only be downloaded, and ${why}`,
      { next: "run where Pulumi's downloads answer, or set CTM_PULUMI_DOWNLOADS to a mirror" },
    );
  }
  if (build.pinnedFor !== artifact.version) {
    throw new CtmError(
      "engine-module-outdated",
      `${build.module} builds ${build.pinnedFor}, and package-lock.json has ${artifact.version}`,
      { next: "update its go.mod, go.sum and pinnedFor together with the npm package" },
    );
  }
  const env = buildEnvironment(options.env);
  const go = await findGo(artifact, build.module, { ...options, env });
  report(`building ${artifact.title} from Go modules, as ${why}; usually ${build.usually}`);
  const flags = [
    "-mod=readonly",
    "-buildvcs=false",
    "-trimpath",
    ...(build.tags.length === 0 ? [] : ["-tags", build.tags.join(",")]),
    "-ldflags",
    `-s -w -X ${build.versionVariable}=${build.versionValue}`,
  ];
  const started = Date.now();
  const progress = setInterval(() => {
    report(`building ${artifact.title}: ${elapsedSince(started)} so far, usually ${build.usually}`);
  }, progressIntervalMs);
  try {
    // With us dies the build: an orphan would take memory beside the next attempt.
    await run(
      "setpriv",
      [
        "--pdeathsig",
        "KILL",
        go,
        "build",
        ...flags,
        "-o",
        join(folder, artifact.binary),
        build.package,
      ],
      { cwd: build.module, env, timeoutMs: buildDeadlineMs },
    );
    return build;
  } catch (error) {
    const what = messageOf(error);
    if (/no space left on device/i.test(what)) {
      throw new CtmError("disk-full", `building ${artifact.title}: ${what}`, {
        next: `free 6 GB on the disks of ${dirname(folder)} and of Go's caches (go env GOCACHE GOMODCACHE), and run again`,
        cause: error,
      });
    }
    throw new CtmError("engine-build-failed", `building ${artifact.title}: ${what}`, {
      next: "see that the Go module proxy answers (go env GOPROXY), then run again: what was compiled is kept",
      cause: error,
    });
  } finally {
    clearInterval(progress);
  }
}

/** Without code and next step, as the text goes into an error that has its own. */
function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What a caller's own Go settings must not change; caches, proxy and toolchain stay theirs. */
function buildEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { GOOS: _system, GOARCH: _machine, ...kept } = env;
  // Without C no compiler and headers are needed.
  return { HOME: homedir(), ...kept, CGO_ENABLED: "0", GOWORK: "off", GO111MODULE: "on" };
}

/** A Go that can build the module. */
async function findGo(
  artifact: Artifact,
  module: string,
  { why, env, goFolders = usualGoFolders }: BuildOptions,
): Promise<string> {
  const folders = [...(env["PATH"] ?? "").split(":"), ...goFolders];
  for (const folder of folders) {
    const go = join(folder, "go");
    if (folder === "" || !(await isExecutable(go))) continue;
    try {
      // In the module's folder go.mod has its say: a Go that is too old fetches a newer one
      // (GOTOOLCHAIN=auto, since 1.21), or says that it may not.
      await run(go, ["list", "-m"], { cwd: module, env, timeoutMs: 600_000 });
      return go;
    } catch (error) {
      throw new CtmError(
        "go-too-old",
        `${go} cannot build ${artifact.title}: ${messageOf(error)}`,
        {
          next: "install Go 1.26 or newer, or set GOTOOLCHAIN=auto",
          cause: error,
        },
      );
    }
  }
  throw new CtmError(
    "go-missing",
    `${artifact.title} has to be built with Go, which is not installed, as ${why}`,
    {
      next: "install Go 1.21 or newer (apt-get install golang-go on Debian 13), or set CTM_PULUMI_DOWNLOADS to a mirror of Pulumi's downloads",
    },
  );
}

export async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
