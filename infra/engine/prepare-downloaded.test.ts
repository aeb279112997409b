import { createHash } from "node:crypto";
import {
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "#system";
import { pulumiCli, resourcePlugin } from "./artifacts.ts";
import { prepareEngine } from "./prepare.ts";
import { type ReleaseServer, serveReleases } from "./release-server.ts";

// The way of most machines: everything official. The archives have the layout of Pulumi's, with
// small files in the place of its programs.

let folder: string;
let server: ReleaseServer;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-official-"));
});

afterEach(async () => {
  await server.close();
  await rm(folder, { recursive: true });
});

async function pack(top: string, names: readonly string[]): Promise<Buffer> {
  const content = join(folder, "content");
  await rm(content, { recursive: true, force: true });
  await mkdir(join(content, top), { recursive: true });
  for (const name of names) await writeFile(join(content, top, name), name, { mode: 0o755 });
  const archive = join(folder, "archive.tar.gz");
  const entries = top === "" ? names : [top];
  await run("tar", ["-czf", archive, "-C", content, ...entries]);
  return readFile(archive);
}

function checksum(algorithm: string, content: Buffer): string {
  return createHash(algorithm).update(content).digest("hex");
}

test("the official CLI brings its own language host, and the plugin lies where Pulumi looks", async () => {
  const { version } = await pulumiCli();
  const plugin = await resourcePlugin("postgresql");
  const cliArchive = await pack("pulumi", [
    "pulumi",
    "pulumi-language-nodejs",
    "pulumi-language-go",
    "pulumi-resource-pulumi-nodejs",
  ]);
  const pluginArchive = await pack("", ["pulumi-resource-postgresql", "LICENSE"]);
  const cpu = process.arch === "arm64" ? ["arm64", "arm64"] : ["x64", "amd64"];
  const files: Record<string, Buffer | string> = {
    [`/sdk/pulumi-v${version}-linux-${cpu[0]}.tar.gz`]: cliArchive,
    [`/sdk/pulumi-${version}-checksums.txt`]: `${checksum("sha256", cliArchive)}  pulumi-v${version}-linux-${cpu[0]}.tar.gz\n`,
    [`/plugins/pulumi-resource-postgresql-v${plugin.version}-linux-${cpu[1]}.tar.gz`]:
      pluginArchive,
    [`/plugins/pulumi-postgresql_${plugin.version}_checksums.txt`]: `${checksum("sha1", pluginArchive)}  ./pulumi-resource-postgresql-v${plugin.version}-linux-${cpu[1]}.tar.gz\n`,
  };
  server = await serveReleases((path, response) => {
    const content = files[path];
    if (content === undefined) response.writeHead(404).end();
    else response.end(content);
  });

  const engine = await prepareEngine({
    plugins: ["postgresql"],
    report: () => undefined,
    env: {
      ...process.env,
      CTM_HOME: join(folder, "home"),
      CTM_CACHE: join(folder, "cache"),
      CTM_PULUMI_DOWNLOADS: `${server.url}/`,
    },
  });

  expect((await readdir(join(folder, "cache/pulumi", version))).toSorted()).toEqual([
    "pulumi",
    "pulumi-language-nodejs",
    "pulumi-resource-pulumi-nodejs",
  ]);
  expect(engine.pulumi).toBe(join(folder, "cache/pulumi", version, "pulumi"));
  expect(engine.path).toEqual([
    join(folder, "home/pulumi/home/bin"),
    join(folder, "cache/pulumi", version),
  ]);
  expect(await realpath(join(engine.home, "bin/node"))).toBe(process.execPath);
  expect(await readdir(join(engine.home, "plugins"))).toEqual([
    `resource-postgresql-v${plugin.version}`,
  ]);
  const place = join(engine.home, "plugins", `resource-postgresql-v${plugin.version}`);
  // The engine skips links in the plugins folder, but not the ones below.
  expect((await lstat(place)).isDirectory()).toBe(true);
  expect(await readFile(join(place, "pulumi-resource-postgresql"), "utf8")).toBe(
    "pulumi-resource-postgresql",
  );
});
