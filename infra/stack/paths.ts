import { homedir } from "node:os";
import { join } from "node:path";
import { CtmError } from "#system";

/** Where everything of one stack lives on this machine. All absolute. */
export interface StackPaths {
  stack: string;
  /** Data, repository, credentials, descriptor: survives a reboot. */
  state: string;
  /** Sockets and pids: gone after a reboot. */
  run: string;
  log: string;
  /** What `down` keeps: repository, passphrase, settings key, CA. Shared by all stacks. */
  kept: string;
  /** Pulumi's own home, file backend and passphrase. Shared by all stacks. */
  pulumi: string;
  /** The near repository. */
  repository: string;
  descriptor: string;
  /** Settings of the Cloudflare part, where the stack has one; never a secret. */
  edge: string;
  credentials: string;
  tls: string;
}

/** Longest path of a Unix socket on Linux, less the terminating zero (sockaddr_un, 108 bytes). */
const longestSocketPath = 107;
/** `/etcd-2379.sock`, `/members/NAME/.s.PGSQL.65535.lock`: the longest name below `run`. */
const longestSocketName = "/members/".length + 32 + "/.s.PGSQL.65535.lock".length;

/** A stack's name: lower case, digits and dashes, at most 32; folder names of ours are reserved. */
const stackName = /^[a-z][a-z0-9-]{0,31}$/;
const reserved = new Set(["pulumi", "run", "log", "kept"]);

/**
 * The paths of a stack. As root: /var/lib/ctm, /run/ctm, /var/log/ctm; as an ordinary user the XDG
 * equivalents; `CTM_HOME` moves all three below one folder.
 *
 * @throws CtmError `bad-stack-name`, `path-too-long`
 */
export function stackPaths(stack: string, env: NodeJS.ProcessEnv = process.env): StackPaths {
  if (!stackName.test(stack) || reserved.has(stack)) {
    throw new CtmError(
      "bad-stack-name",
      `"${stack}" is no name for a stack: a letter, then at most 31 of a-z, 0-9 and dashes, and not one of ${[...reserved].join(", ")}`,
      { next: "choose another name with --stack", exitCode: 2 },
    );
  }
  const roots = homeRoots(env);
  const run = join(roots.run, stack);
  if (Buffer.byteLength(run) + longestSocketName > longestSocketPath) {
    throw new CtmError(
      "path-too-long",
      `sockets below ${run} would exceed ${longestSocketPath} bytes, the limit of a Unix socket path`,
      { next: "set CTM_HOME to a shorter path", exitCode: 2 },
    );
  }
  const state = join(roots.state, stack);
  return {
    stack,
    state,
    run,
    log: join(roots.log, stack),
    kept: join(roots.state, "kept"),
    pulumi: join(roots.state, "pulumi"),
    repository: join(state, "repository"),
    descriptor: join(state, "descriptor.json"),
    edge: join(state, "edge.json"),
    credentials: join(state, "credentials"),
    tls: join(state, "tls"),
  };
}

/** The folder that holds every stack's state, and its siblings for sockets and logs. */
export function homeRoots(env: NodeJS.ProcessEnv = process.env): {
  state: string;
  run: string;
  log: string;
} {
  const moved = env["CTM_HOME"];
  if (moved !== undefined && moved !== "") {
    if (!moved.startsWith("/")) {
      throw new CtmError("bad-home", `CTM_HOME is "${moved}", not an absolute path`, {
        next: "set CTM_HOME to an absolute path, or unset it",
        exitCode: 2,
      });
    }
    return { state: moved, run: join(moved, "run"), log: join(moved, "log") };
  }
  if (process.getuid?.() === 0) {
    return { state: "/var/lib/ctm", run: "/run/ctm", log: "/var/log/ctm" };
  }
  const home = homedir();
  const state = join(env["XDG_STATE_HOME"] ?? join(home, ".local/state"), "ctm");
  const runtime = env["XDG_RUNTIME_DIR"];
  return {
    state: join(env["XDG_DATA_HOME"] ?? join(home, ".local/share"), "ctm"),
    run: runtime === undefined ? `/tmp/ctm-${process.getuid?.() ?? 0}` : join(runtime, "ctm"),
    log: join(state, "log"),
  };
}

/**
 * The cache of engines and packages: rebuilt when lost, readable by all.
 * An ordinary user reads root's cache where it has what is needed.
 */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  const moved = env["CTM_CACHE"];
  if (moved !== undefined && moved !== "") return moved;
  if (process.getuid?.() === 0) return sharedCacheRoot;
  return join(env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "ctm");
}

/** Root's cache, which every user may read. */
export const sharedCacheRoot = "/var/cache/ctm";
