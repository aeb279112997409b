import { mkdir, readdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { cacheRoot } from "#stack";
import { prepareEngine } from "#engine";

/**
 * A cache (CTM_CACHE) that is this machine's, but for Cloudflare's plugin: there the stand-in is,
 * which the engine finds as it would find the official one.
 */
export async function standInCache(folder: string): Promise<string> {
  // Into the machine's cache, where the next run finds it too.
  await prepareEngine({ plugins: ["postgresql"] });
  const own = cacheRoot();
  const plugins = join(folder, "plugins");
  await mkdir(plugins, { recursive: true });
  for (const name of await readdir(own)) {
    if (name !== "plugins") await symlink(join(own, name), join(folder, name));
  }
  const plugin = `resource-cloudflare-v${manifest.dependencies["@pulumi/cloudflare"]}`;
  for (const name of await readdir(join(own, "plugins"))) {
    if (name !== plugin) await symlink(join(own, "plugins", name), join(plugins, name));
  }
  await symlink(join(import.meta.dirname, "plugin"), join(plugins, plugin));
  return folder;
}
