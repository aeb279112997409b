import { randomBytes } from "node:crypto";
import { readlink, rename, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exists, makeDirectory } from "#system";
import { cacheRoot, homeRoots, sharedCacheRoot } from "#stack";
import { type Artifact, type PluginName, pulumiCli, resourcePlugin } from "./artifacts.ts";
import { onDisk } from "./disk-errors.ts";
import { Downloads, officialDownloads } from "./download.ts";
import { obtain } from "./obtain.ts";
import { checkout } from "./versions.ts";

/** A Pulumi engine that is ready to run this checkout's program. */
export interface Engine {
  /** The CLI's binary. */
  pulumi: string;
  /** PULUMI_HOME: credentials, workspaces and plugins of this user. */
  home: string;
  /** Folders to put first on PATH: `node` and `pulumi`. */
  path: string[];
  /** What the CLI needs in its environment besides PATH: PULUMI_HOME and its habits. */
  environment: Record<string, string>;
  versions: { node: string; pulumi: string; plugins: Partial<Record<PluginName, string>> };
}

export interface PrepareOptions {
  /** The plugins that the stack uses. */
  plugins: readonly PluginName[];
  /** Called with lines for people: what is done, why, and how long it takes. Default: stderr. */
  report?: (line: string) => void;
  env?: NodeJS.ProcessEnv;
}

/**
 * Makes the Pulumi CLI, its Node language host and the plugins ready, in the exact versions of
 * package-lock.json. With everything cached it takes milliseconds and no network.
 *
 * `CTM_PULUMI_DOWNLOADS` is the base URL of the downloads (a mirror), or `off` to build at once.
 *
 * @throws CtmError `home-not-writable`, `disk-full`, and those of obtain.ts
 */
export async function prepareEngine(options: PrepareOptions): Promise<Engine> {
  const env = options.env ?? process.env;
  const report = options.report ?? ((line: string) => void process.stderr.write(`ctm: ${line}\n`));
  const obtaining = {
    caches: cachesOf(env),
    downloads: new Downloads(env["CTM_PULUMI_DOWNLOADS"] || officialDownloads, report),
    report,
    env,
  };
  // One after the other: each build takes all cores and most of a small machine's memory.
  const cli = await pulumiCli();
  const cliFolder = await obtain(cli, obtaining);
  const plugins: Plugin[] = [];
  for (const name of options.plugins) {
    const artifact = await resourcePlugin(name);
    plugins.push({ name, artifact, folder: await obtain(artifact, obtaining) });
  }

  const home = join(homeRoots(env).state, "pulumi", "home");
  const refused = {
    code: "home-not-writable",
    next: "run as the user that ran up (often root), or set CTM_HOME to a folder that you may write",
  };
  await onDisk("preparing Pulumi's home", home, refused, async () => {
    await makeDirectory(home, { mode: 0o700 });
    await link(process.execPath, join(home, "bin", "node"));
    await offerLanguageHost(home, cliFolder, cli.version);
    for (const { name, artifact, folder } of plugins) {
      const place = join(home, "plugins", `resource-${name}-v${artifact.version}`);
      await link(join(folder, artifact.binary), join(place, artifact.binary));
    }
  });

  return {
    pulumi: join(cliFolder, cli.binary),
    home,
    path: [join(home, "bin"), cliFolder],
    environment: {
      PULUMI_HOME: home,
      PULUMI_SKIP_UPDATE_CHECK: "true",
      // Another version on PATH must not take the place of the ones prepared here.
      PULUMI_IGNORE_AMBIENT_PLUGINS: "true",
    },
    versions: {
      node: process.versions.node,
      pulumi: cli.version,
      plugins: Object.fromEntries(plugins.map(({ name, artifact }) => [name, artifact.version])),
    },
  };
}

interface Plugin {
  name: PluginName;
  artifact: Artifact;
  /** In the cache. */
  folder: string;
}

/** Ours first, which we may write, then root's, where everybody may read. */
function cachesOf(env: NodeJS.ProcessEnv): [string, ...string[]] {
  const own = cacheRoot(env);
  const moved = env["CTM_CACHE"] ?? "";
  return own === sharedCacheRoot || moved !== "" ? [own] : [own, sharedCacheRoot];
}

/**
 * The official language host lies beside the official CLI, where the engine finds it first. A CLI
 * that was built here has none, and takes ours: from the plugins folder, as the engine warns of
 * every language host that it finds on PATH.
 */
async function offerLanguageHost(home: string, cliFolder: string, version: string): Promise<void> {
  const name = "pulumi-language-nodejs";
  if (await exists(join(cliFolder, name))) return;
  await link(
    join(checkout, "infra/engine/language-host", name),
    join(home, "plugins", `language-nodejs-v${version}`, name),
  );
}

/** Makes `path` a symbolic link to `target`, in one step for whoever looks at it meanwhile. */
async function link(target: string, path: string): Promise<void> {
  if ((await readlink(path).catch(() => undefined)) === target) return;
  await makeDirectory(dirname(path), { mode: 0o755 });
  const temporary = `${path}.${randomBytes(4).toString("hex")}`;
  await symlink(target, temporary);
  try {
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
