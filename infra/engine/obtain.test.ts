import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  access,
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CtmError, run, waitFor } from "#system";
import type { Artifact } from "./artifacts.ts";
import { Downloads } from "./download.ts";
import { obtain, type ObtainOptions } from "./obtain.ts";
import { type ReleaseServer, serveReleases } from "./release-server.ts";

const artifact: Artifact = {
  title: "the probe plugin 1.2.3",
  version: "1.2.3",
  folder: "plugins/resource-probe-v1.2.3",
  binary: "pulumi-resource-probe",
  download: {
    archive: "plugins/probe.tar.gz",
    checksums: "plugins/probe_checksums.txt",
    members: [],
    strip: 0,
  },
  build: {
    folder: "plugins/resource-probe-v1.2.3-0badcafe",
    module: "set below",
    package: ".",
    pinnedFor: "1.2.3",
    versionVariable: "main.version",
    versionValue: "1.2.3",
    tags: [],
    usually: "a moment",
  },
};

/** A Go that "compiles" at once. */
const quickGo = `#!/bin/sh
[ "$1" = list ] && exit 0
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
printf 'built' > "$out"; chmod +x "$out"
`;

let folder: string;
let lines: string[];
let server: ReleaseServer | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-engine-"));
  await mkdir(join(folder, "bin"));
  await mkdir(join(folder, "module"));
  lines = [];
  server = undefined;
});

afterEach(async () => {
  await server?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Pulumi's downloads on loopback: `answer` says what happens to each path. */
async function serve(answer: (path: string, response: ServerResponse) => void): Promise<string> {
  server = await serveReleases(answer);
  return server.url;
}

/** The archive that a good server has. */
async function packArchive(): Promise<Buffer> {
  const content = join(folder, "content");
  await mkdir(content);
  await writeFile(join(content, artifact.binary), "downloaded", { mode: 0o755 });
  await run("tar", ["-czf", join(folder, "probe.tar.gz"), "-C", content, artifact.binary]);
  return readFile(join(folder, "probe.tar.gz"));
}

async function installGo(script: string): Promise<void> {
  await writeFile(join(folder, "bin/go"), script, { mode: 0o755 });
}

function optionsFor(base: string): ObtainOptions {
  const report = (line: string): void => void lines.push(line);
  return {
    caches: [join(folder, "cache")],
    downloads: new Downloads(base, report),
    report,
    env: { PATH: `${join(folder, "bin")}:/usr/bin:/bin` },
  };
}

function probe(): Artifact {
  return {
    ...artifact,
    build: artifact.build && { ...artifact.build, module: join(folder, "module") },
  };
}

async function obtained(options: ObtainOptions): Promise<string> {
  return readFile(join(await obtain(probe(), options), artifact.binary), "utf8");
}

async function failure(options: ObtainOptions, what: Artifact = probe()): Promise<string> {
  try {
    await obtain(what, options);
  } catch (error) {
    if (!(error instanceof CtmError)) throw error;
    return error.text.replaceAll(folder, "FOLDER").replace(/\/\.[^/]+\.partial\//, "/PARTIAL/");
  }
  throw new Error("nothing was thrown");
}

/** What a run left in the cache, locks aside. */
async function leftInCache(): Promise<string[]> {
  const names = await readdir(join(folder, "cache/plugins"));
  return names.filter((name) => !name.endsWith(".lock"));
}

describe("a server that answers", () => {
  test("the download is unpacked, readable by all, and asked for once", async () => {
    const archive = await packArchive();
    const sum = createHash("sha1").update(archive).digest("hex");
    const base = await serve((path, response) => {
      response.end(path.endsWith(".txt") ? `${sum}  ./probe.tar.gz\n` : archive);
    });
    const umask = process.umask(0o077);
    try {
      expect(await obtained(optionsFor(base))).toBe("downloaded");
    } finally {
      process.umask(umask);
    }
    const closed: string[] = [];
    for (const path of ["", "plugins", artifact.folder, `${artifact.folder}/${artifact.binary}`]) {
      const { mode } = await stat(join(folder, "cache", path));
      if ((mode & 0o055) !== 0o055) closed.push(path);
    }
    expect(closed).toEqual([]);
    expect(await obtained(optionsFor(base))).toBe("downloaded");
    expect(server?.requests).toEqual(["/plugins/probe_checksums.txt", "/plugins/probe.tar.gz"]);
    expect(await leftInCache()).toEqual(["resource-probe-v1.2.3"]);
    expect(lines).toEqual([
      `downloading the probe plugin 1.2.3 from ${base}/plugins/probe.tar.gz (1 MB)`,
      "downloaded the probe plugin 1.2.3 in 0 s",
    ]);
  });

  test("a file that is not what its checksum says is refused, not replaced by a build", async () => {
    await installGo(quickGo);
    const base = await serve((path, response) => {
      response.end(path.endsWith(".txt") ? `${"0".repeat(64)}  probe.tar.gz\n` : "tampered");
    });
    const actual = createHash("sha256").update("tampered").digest("hex");
    expect(await failure(optionsFor(base))).toBe(
      `checksum-mismatch: ${base}/plugins/probe.tar.gz has the sha256 checksum ${actual}, and plugins/probe_checksums.txt says ${"0".repeat(64)}\n` +
        "next: run again; if it stays, find out who changes downloads on this network",
    );
    expect(await leftInCache()).toEqual([]);
  });

  test("a server without the file, or with something else in its place, means building", async () => {
    await installGo(quickGo);
    const missing = await serve((_path, response) => response.writeHead(404).end());
    expect(await obtained(optionsFor(missing))).toBe("built");
    expect(lines[0]).toBe(
      `building the probe plugin 1.2.3 from Go modules, as ${missing}/plugins/probe_checksums.txt answered 404; usually a moment`,
    );
    await server?.close();
    await rm(join(folder, "cache"), { recursive: true });
    const portal = await serve((_path, response) => response.end("<html>Please log in</html>"));
    expect(await obtained(optionsFor(portal))).toBe("built");
  });

  test("a download that breaks off means building", async () => {
    await installGo(quickGo);
    const base = await serve((path, response) => {
      if (path.endsWith(".txt")) response.end(`${"0".repeat(40)}  probe.tar.gz\n`);
      else
        response
          .writeHead(200, { "content-length": "1000" })
          .write("half", () => response.destroy());
    });
    expect(await obtained(optionsFor(base))).toBe("built");
    expect(await leftInCache()).toEqual(["resource-probe-v1.2.3-0badcafe"]);
  });
});

describe("a server that does not answer", () => {
  test("after 5 s it is built, and the server is not asked for the next artifact", async () => {
    await installGo(quickGo);
    const base = await serve(() => undefined);
    const options = optionsFor(base);
    const started = Date.now();
    expect(await obtained(options)).toBe("built");
    expect(Date.now() - started).toBeGreaterThanOrEqual(4_900);
    expect(lines[0]).toBe(
      `building the probe plugin 1.2.3 from Go modules, as ${base}/plugins/probe_checksums.txt did not answer within 5 s; usually a moment`,
    );
    await obtain({ ...probe(), folder: "plugins/another" }, options);
    expect(server?.requests).toHaveLength(1);
  }, 20_000);

  test("a refused connection means building at once", async () => {
    await installGo(quickGo);
    const base = await serve(() => undefined);
    await server?.close();
    expect(await obtained(optionsFor(base))).toBe("built");
    expect(lines[0]).toMatch(
      /did not answer: connect ECONNREFUSED 127\.0\.0\.1:\d+; usually a moment$/,
    );
  });
});

describe("a build that cannot be", () => {
  test("a failed build names the step, its last lines and the way out", async () => {
    await installGo('#!/bin/sh\n[ "$1" = list ] && exit 0\necho "undefined: Widget" >&2\nexit 1\n');
    expect(await failure(optionsFor("off"))).toBe(
      "engine-build-failed: building the probe plugin 1.2.3: setpriv --pdeathsig KILL FOLDER/bin/go build -mod=readonly -buildvcs=false -trimpath -ldflags -s -w -X main.version=1.2.3 -o FOLDER/cache/plugins/PARTIAL/pulumi-resource-probe . ended with exit code 1:\n  undefined: Widget\n" +
        "next: see that the Go module proxy answers (go env GOPROXY), then run again: what was compiled is kept",
    );
    expect(await leftInCache()).toEqual([]);
  });

  test("a full disk is named as such", async () => {
    await installGo(
      '#!/bin/sh\n[ "$1" = list ] && exit 0\necho "write /x: no space left on device" >&2\nexit 1\n',
    );
    const text = await failure(optionsFor("off"));
    expect(text).toMatch(/^disk-full: building the probe plugin 1\.2\.3: /);
    expect(text).toMatch(
      /next: free 6 GB on the disks of FOLDER\/cache\/plugins and of Go's caches \(go env GOCACHE GOMODCACHE\), and run again$/,
    );
  });

  test("a Go that is too old says so", async () => {
    await installGo(
      '#!/bin/sh\necho "go: go.mod requires go >= 1.26.0 (running go 1.24.4; GOTOOLCHAIN=local)" >&2\nexit 1\n',
    );
    expect(await failure(optionsFor("off"))).toBe(
      "go-too-old: FOLDER/bin/go cannot build the probe plugin 1.2.3: FOLDER/bin/go list -m ended with exit code 1:\n" +
        "  go: go.mod requires go >= 1.26.0 (running go 1.24.4; GOTOOLCHAIN=local)\n" +
        "next: install Go 1.26 or newer, or set GOTOOLCHAIN=auto",
    );
  });

  test("without Go the way out is named", async () => {
    expect(await failure({ ...optionsFor("off"), goFolders: [] })).toBe(
      "go-missing: the probe plugin 1.2.3 has to be built with Go, which is not installed, as downloads are off (CTM_PULUMI_DOWNLOADS)\n" +
        "next: install Go 1.21 or newer (apt-get install golang-go on Debian 13), or set CTM_PULUMI_DOWNLOADS to a mirror of Pulumi's downloads",
    );
  });

  test("a plugin that cannot be built needs the download", async () => {
    expect(await failure(optionsFor("off"), { ...artifact, build: undefined })).toBe(
      "engine-not-available: the probe plugin 1.2.3 can only be downloaded, and downloads are off (CTM_PULUMI_DOWNLOADS)\n" +
        "next: run where Pulumi's downloads answer, or set CTM_PULUMI_DOWNLOADS to a mirror",
    );
  });

  test("an SDK that moved on without its module is not built from the old pins", async () => {
    expect(await failure(optionsFor("off"), { ...probe(), version: "1.3.0" })).toBe(
      "engine-module-outdated: FOLDER/module builds 1.2.3, and package-lock.json has 1.3.0\n" +
        "next: update its go.mod, go.sum and pinnedFor together with the npm package",
    );
  });
});

describe("the cache", () => {
  test("a second run waits for the first and does nothing again", async () => {
    const slowGo = quickGo.replace("printf", `echo run >> ${folder}/builds; sleep 1; printf`);
    await installGo(slowGo);
    const results = await Promise.all([obtained(optionsFor("off")), obtained(optionsFor("off"))]);
    expect(results).toEqual(["built", "built"]);
    expect(await readFile(join(folder, "builds"), "utf8")).toBe("run\n");
    expect(lines).toContain(
      `waiting for process ${process.pid}, which is getting the probe plugin 1.2.3`,
    );
  });

  test("a killed build takes its compiler with it, and the next run finishes", async () => {
    await installGo(
      `#!/bin/sh\n[ "$1" = list ] && exit 0\necho $$ > ${folder}/go.pid\nexec sleep 600\n`,
    );
    const script = join(folder, "obtain.ts");
    const here = import.meta.dirname;
    await writeFile(
      script,
      `import { obtain } from ${JSON.stringify(join(here, "obtain.ts"))};
       import { Downloads } from ${JSON.stringify(join(here, "download.ts"))};
       const report = () => undefined;
       await obtain(${JSON.stringify(probe())}, {
         caches: [${JSON.stringify(join(folder, "cache"))}],
         downloads: new Downloads("off", report), report,
         env: { PATH: ${JSON.stringify(`${join(folder, "bin")}:/usr/bin:/bin`)} },
       });`,
    );
    const child = spawn(process.execPath, [script], { stdio: "ignore" });
    const go = await waitFor("the build to start", 20_000, async () => {
      const pid = Number(await readFile(join(folder, "go.pid"), "utf8"));
      return pid > 0 ? pid : undefined;
    });
    child.kill("SIGKILL");
    await waitFor("the compiler to die", 5_000, () => (isAlive(go) ? undefined : true));
    expect(await leftInCache()).toEqual([expect.stringMatching(/\.partial$/)]);

    await installGo(quickGo);
    expect(await obtained(optionsFor("off"))).toBe("built");
    expect(await leftInCache()).toEqual(["resource-probe-v1.2.3-0badcafe"]);
  }, 30_000);

  test("a module of ours that has changed is built anew", async () => {
    await installGo(quickGo);
    await obtain(probe(), optionsFor("off"));
    const { build } = probe();
    const changed = { ...probe(), build: build && { ...build, folder: "plugins/changed" } };
    expect(await obtain(changed, optionsFor("off"))).toBe(join(folder, "cache/plugins/changed"));
    expect(await leftInCache()).toHaveLength(2);
  });

  test("what another cache has is used from there", async () => {
    const shared = join(folder, "shared");
    await mkdir(join(shared, artifact.folder), { recursive: true });
    await writeFile(join(shared, artifact.folder, artifact.binary), "shared", { mode: 0o755 });
    const caches = [join(folder, "cache"), shared] as const;
    expect(await obtained({ ...optionsFor("off"), caches })).toBe("shared");
    await expect(access(join(folder, "cache"))).rejects.toThrow("ENOENT");
  });

  test.runIf(process.getuid?.() === 0)("a cache that cannot be written is named", async () => {
    await chmod(folder, 0o755);
    const script = `import { obtain } from ${JSON.stringify(join(import.meta.dirname, "obtain.ts"))};
      import { Downloads } from ${JSON.stringify(join(import.meta.dirname, "download.ts"))};
      process.setgid(65534); process.setuid(65534);
      const report = () => undefined;
      await obtain(${JSON.stringify(probe())}, {
        caches: [${JSON.stringify(join(folder, "cache"))}],
        downloads: new Downloads("off", report), report, env: process.env,
      }).catch((error) => console.log(error.text));`;
    const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script]);
    expect(stdout.replaceAll(folder, "FOLDER")).toBe(
      "cache-not-writable: getting the probe plugin 1.2.3: EACCES: permission denied, mkdir 'FOLDER/cache'\n" +
        "next: set CTM_CACHE to a folder that you may write\n",
    );
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
