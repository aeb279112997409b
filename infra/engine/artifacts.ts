import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { checkout, lockedVersion } from "./versions.ts";

export type PluginName = "postgresql" | "docker" | "cloudflare";

/** One thing that the engine needs on the machine: the Pulumi CLI or a resource plugin. */
export interface Artifact {
  /** For people: "the Pulumi CLI 3.259.0". */
  title: string;
  version: string;
  /** Below the cache, when downloaded. */
  folder: string;
  /** Inside `folder`. */
  binary: string;
  download: {
    /** Below the base URL of Pulumi's releases. */
    archive: string;
    checksums: string;
    /** What to unpack: tar patterns, and how many leading folders to drop. */
    members: readonly string[];
    strip: number;
  };
  build: Build | undefined;
}

/** How to build an artifact from Go modules, where the official download does not answer. */
export interface Build {
  /** Below the cache: names what it is built from, so that a change of ours is built anew. */
  folder: string;
  /** The folder of its go.mod and go.sum. */
  module: string;
  /** What to build: a package path, or "." for the module itself. */
  package: string;
  /** The npm version that the pins in go.mod belong to: another one is not built. */
  pinnedFor: string;
  /** Go variable that takes the version. */
  versionVariable: string;
  /** What the variable is set to. */
  versionValue: string;
  tags: readonly string[];
  /** Measured cold, on two cores (docs/decisions/0011). */
  usually: string;
}

const modules = join(checkout, "infra/engine/modules");

/** Plugins that can be built, with the npm version that their go.mod was made for. */
const buildable: Record<PluginName, { pinnedFor: string; usually: string } | undefined> = {
  postgresql: { pinnedFor: "3.18.1", usually: "1 to 2 min" },
  docker: { pinnedFor: "5.2.0", usually: "3 to 4 min" },
  // Its provider's Go module is not published in a form that can be built.
  cloudflare: undefined,
};

/** The Pulumi CLI in the version of @pulumi/pulumi. */
export async function pulumiCli(): Promise<Artifact> {
  const version = await lockedVersion("@pulumi/pulumi");
  const folder = join("pulumi", version);
  const module = join(modules, "pulumi");
  const machine = process.arch === "arm64" ? "arm64" : "x64";
  return {
    title: `the Pulumi CLI ${version}`,
    version,
    folder,
    binary: "pulumi",
    download: {
      archive: `sdk/pulumi-v${version}-linux-${machine}.tar.gz`,
      checksums: `sdk/pulumi-${version}-checksums.txt`,
      // The other languages' hosts are most of the archive.
      members: ["pulumi/pulumi", "pulumi/*nodejs*"],
      strip: 1,
    },
    build: {
      folder: `${folder}-${await fingerprint(module)}`,
      module,
      package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
      pinnedFor: "3.259.0",
      versionVariable: "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version",
      versionValue: `v${version}`,
      tags: ["osusergo", "grpcnotrace"],
      usually: "3 to 6 min",
    },
  };
}

/** A resource plugin in the version of its npm package. */
export async function resourcePlugin(name: PluginName): Promise<Artifact> {
  const version = await lockedVersion(`@pulumi/${name}`);
  const machine = process.arch === "arm64" ? "arm64" : "amd64";
  const binary = `pulumi-resource-${name}`;
  const folder = join("plugins", `resource-${name}-v${version}`);
  const module = join(modules, binary);
  const build = buildable[name];
  return {
    title: `the ${name} plugin ${version}`,
    version,
    folder,
    binary,
    download: {
      archive: `plugins/${binary}-v${version}-linux-${machine}.tar.gz`,
      checksums: `plugins/pulumi-${name}_${version}_checksums.txt`,
      members: [],
      strip: 0,
    },
    build: build && {
      folder: `${folder}-${await fingerprint(module)}`,
      module,
      package: ".",
      pinnedFor: build.pinnedFor,
      versionVariable: "main.version",
      versionValue: version,
      tags: [],
      usually: build.usually,
    },
  };
}

/** Eight digits that change with the module's pins and code. */
async function fingerprint(module: string): Promise<string> {
  const names = await readdir(module, { recursive: true });
  const hash = createHash("sha256");
  for (const name of names.filter((path) => /\.(mod|sum|go)$/.test(path)).toSorted()) {
    hash.update(`${name}\0`).update(await readFile(join(module, name)));
  }
  return hash.digest("hex").slice(0, 8);
}
