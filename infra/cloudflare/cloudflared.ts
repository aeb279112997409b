import { everybodyCanRun } from "#engine";
import { CtmError, isMissing, isRoot, messageOf, run } from "#system";

/** Where Cloudflare's packages for Debian and its plain downloads put the program. */
const usualPlaces = ["/usr/local/bin/cloudflared", "/usr/bin/cloudflared"] as const;

/**
 * The first version that reads its token from a file (`--token-file`): before it, the token would
 * have to be an argument or a variable of the environment.
 * https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/configure-tunnels/cloudflared-parameters/run-parameters/#token-file
 */
const leastVersion = [2025, 4, 0] as const;

const install =
  "install it from https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/downloads/ (Debian has no package of it), or name it in ctm:cloudflare.cloudflared";

/**
 * The program that holds the tunnel open, checked: it is there, the service's user can run it, and
 * it takes its token from a file.
 *
 * @param configured absolute path; without one, the usual places are looked at
 * @throws CtmError `cloudflared-missing`, `cloudflared-not-shared`, `cloudflared-unusable`,
 *   `cloudflared-too-old`
 */
export async function findCloudflared(
  configured: string | undefined,
  places: readonly string[] = usualPlaces,
): Promise<string> {
  const candidates = configured === undefined ? places : [configured];
  for (const path of candidates) {
    const shared = await canRun(path);
    if (shared === undefined) continue;
    if (!shared && isRoot()) {
      throw new CtmError(
        "cloudflared-not-shared",
        `${path} cannot be run by other users than root, and the tunnel runs as one`,
        { next: `let everybody enter its folder and run it: chmod 755 ${path}` },
      );
    }
    await checkVersion(path);
    return path;
  }
  throw new CtmError(
    "cloudflared-missing",
    `cloudflared, which holds the tunnel to Cloudflare open, is not at ${candidates.join(" nor at ")}`,
    { next: install },
  );
}

/** Undefined when it is not there, false when only its owner can run it. */
async function canRun(path: string): Promise<boolean | undefined> {
  try {
    return await everybodyCanRun(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    return false;
  }
}

async function checkVersion(path: string): Promise<void> {
  const { stdout } = await run(path, ["--version"], { timeoutMs: 10_000 }).catch(
    (error: unknown) => {
      throw new CtmError("cloudflared-unusable", `${path} does not run: ${messageOf(error)}`, {
        next: install,
        cause: error,
      });
    },
  );
  const found = /cloudflared version (\d+)\.(\d+)\.(\d+)/.exec(stdout)?.slice(1).map(Number);
  // One that somebody built without a version number is taken at their word.
  if (found === undefined || !isOlder(found, leastVersion)) return;
  throw new CtmError(
    "cloudflared-too-old",
    `${path} is ${found.join(".")}; tokens are read from a file since ${leastVersion.join(".")}`,
    { next: install },
  );
}

function isOlder(one: readonly number[], other: readonly number[]): boolean {
  const index = other.findIndex((part, at) => one[at] !== part);
  return index !== -1 && (one[index] ?? 0) < (other[index] ?? 0);
}
