import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { cacheRoot } from "#stack";
import { run, waitFor } from "#system";
import { cacheRoots } from "../../bin/bootstrap.js";
import { checkout as thisCheckout } from "./versions.ts";

// A checkout in a path with a space, with the programs of bin/ and an npm of the test's own:
// npm_execpath is how npm tells the programs that it starts where it is.

let folder: string;
let checkout: string;
let npm: string;

/** Installs at once, and says so in `npm.log`. */
const quickNpm = `
const fs = require("node:fs");
fs.appendFileSync("../npm.log", process.argv.slice(2).join(" ") + "\\n");
fs.mkdirSync("node_modules", { recursive: true });
fs.copyFileSync("package-lock.json", "node_modules/.package-lock.json");
`;

const lockfile = {
  name: "probe",
  lockfileVersion: 3,
  packages: {
    "": { name: "probe" },
    "node_modules/one": { version: "1.0.0", integrity: "sha512-one" },
    "node_modules/for-another-machine": { version: "1.0.0", integrity: "sha512-x", optional: true },
  },
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-bin-"));
  await chmod(folder, 0o755);
  checkout = join(folder, "a checkout");
  await cp(join(thisCheckout, "bin"), join(checkout, "bin"), { recursive: true });
  await writeFile(join(checkout, "package.json"), '{ "type": "module" }');
  await writeLock(lockfile);
  npm = join(folder, "npm-cli.js");
  await writeFile(npm, quickNpm);
  await writeProgram(
    `const answer: number = 42;
     console.log(JSON.stringify([answer, process.cwd(), process.argv.slice(2)]));`,
  );
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function writeLock(content: unknown): Promise<void> {
  return writeFile(join(checkout, "package-lock.json"), JSON.stringify(content));
}

function writeProgram(text: string): Promise<void> {
  return writeFile(join(checkout, "program.ts"), text);
}

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, npm_execpath: npm, CTM_CACHE: join(folder, "cache") };
}

async function start(
  ...args: string[]
): Promise<{ stdout: string; stderr: string; code: number | null }> {
  return run(process.execPath, [join(checkout, "bin/run"), "program.ts", ...args], {
    cwd: folder,
    env: environment(),
    accept: [0, 1, 2, 7],
  });
}

/** In a session of its own, so without a terminal; `output` grows. */
function launch(): { child: ChildProcess; output: () => string } {
  const child = spawn(process.execPath, [join(checkout, "bin/run"), "program.ts"], {
    cwd: folder,
    env: environment(),
    detached: true,
  });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  return { child, output: () => text };
}

async function npmRuns(): Promise<number> {
  const log = await readFile(join(folder, "npm.log"), "utf8").catch(() => "");
  return log.split("\n").length - 1;
}

describe("a program", () => {
  test("gets its arguments and the caller's folder, and only the first run installs", async () => {
    const first = await start("a", "b c");
    expect(JSON.parse(first.stdout)).toEqual([42, folder, ["a", "b c"]]);
    expect(first.stderr).toBe(
      "ctm: installing the npm packages (first run in this folder; about half a minute)\n",
    );
    const second = await start();
    expect(JSON.parse(second.stdout)).toEqual([42, folder, []]);
    expect(second.stderr).toBe("");
    expect(await readFile(join(folder, "npm.log"), "utf8")).toBe(
      "install --no-save --include=dev --include=optional --no-dry-run --no-audit --no-fund --loglevel=error\n",
    );
  });

  test("ends with its own exit code", async () => {
    await writeProgram("process.exitCode = 7;");
    expect((await start()).code).toBe(7);
  });

  test("finds itself under `node` too", async () => {
    await writeProgram(
      `import { execFileSync } from "node:child_process";
       console.log(execFileSync("node", ["--version"]).toString().trim() === process.version);`,
    );
    expect((await start()).stdout).toBe("true\n");
  });

  test("that is not named is a wrong usage", async () => {
    const finished = await run(process.execPath, [join(checkout, "bin/run")], { accept: [2] });
    expect(finished.stderr).toBe(
      "bad-usage: no program was named\nnext: node bin/run FILE [ARGUMENTS]\n",
    );
  });

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "gets %s once, and answers it",
    async (signal) => {
      await writeProgram(
        `let count = 0;
       process.on("${signal}", () => { count += 1; setTimeout(() => process.exit(10 + count), 300); });
       setInterval(() => undefined, 1000);
       console.log("ready");`,
      );
      const { child, output } = launch();
      await waitFor("the program", 10_000, () => output().includes("ready") || undefined);
      child.kill(signal);
      const [code] = await once(child, "exit");
      expect(code).toBe(11);
    },
  );

  test("that dies by a signal is seen to", async () => {
    await writeProgram('process.kill(process.pid, "SIGKILL"); setInterval(() => undefined, 1000);');
    const [code, signal] = await once(launch().child, "exit");
    expect({ code, signal }).toEqual({ code: null, signal: "SIGKILL" });
  });
});

describe("the npm packages", () => {
  test("are installed again when package-lock.json has changed", async () => {
    await start();
    await writeFile(join(checkout, "node_modules/kept"), "");
    await writeLock({
      ...lockfile,
      packages: { ...lockfile.packages, "node_modules/two": { version: "2.0.0" } },
    });
    expect((await start()).stderr).toBe(
      "ctm: installing the npm packages (package-lock.json has changed; about half a minute)\n",
    );
    expect(await npmRuns()).toBe(2);
    // Programs of this checkout may be running.
    expect(await readFile(join(checkout, "node_modules/kept"), "utf8")).toBe("");
  });

  test("that somebody installed with npm are taken as they are", async () => {
    await mkdir(join(checkout, "node_modules"));
    const { "node_modules/one": one } = lockfile.packages;
    await writeFile(
      join(checkout, "node_modules/.package-lock.json"),
      JSON.stringify({ packages: { "node_modules/one": one } }),
    );
    expect((await start()).stderr).toBe("");
    expect(await npmRuns()).toBe(0);
  });

  test("are installed once by runs at once", async () => {
    const release = join(folder, "release");
    await writeFile(
      npm,
      `const wait = setInterval(() => {
         if (!require("node:fs").existsSync(${JSON.stringify(release)})) return;
         clearInterval(wait);
         ${quickNpm}
       }, 50);`,
    );
    const runs = [launch(), launch(), launch()];
    const ended = runs.map(({ child }) => once(child, "close"));
    await waitFor("two runs to wait for the third", 10_000, () => {
      const waiting = runs.filter(({ output }) =>
        /^ctm: waiting for process \d+, which is installing the npm packages\n$/.test(output()),
      );
      return waiting.length === 2 ? true : undefined;
    });
    await writeFile(release, "");
    expect((await Promise.all(ended)).map(([code]) => code)).toEqual([0, 0, 0]);
    expect(await npmRuns()).toBe(1);
  });

  test("of a killed install are waited for, then installed anew", async () => {
    // npm outlives us, and would write into the folder of the next npm.
    const release = join(folder, "release");
    await writeFile(
      npm,
      `${quickNpm}; fs.rmSync("node_modules/.package-lock.json");
       fs.writeFileSync("node_modules/half", "");
       fs.writeFileSync("../started", "");
       setInterval(() => fs.existsSync(${JSON.stringify(release)}) && process.exit(), 50);`,
    );
    const first = launch();
    await waitFor("npm", 10_000, () => stat(join(folder, "started")));
    first.child.kill("SIGKILL");
    await once(first.child, "exit");
    await writeFile(npm, quickNpm);
    const second = launch();
    await waitFor("the second run to wait", 10_000, () => second.output() !== "" || undefined);
    expect(second.output()).toMatch(/^ctm: waiting for process \d+, which is installing/);
    expect(await npmRuns()).toBe(1);
    await writeFile(release, "");
    const [code] = await once(second.child, "exit");
    expect(code).toBe(0);
    expect(await npmRuns()).toBe(2);
    await expect(stat(join(checkout, "node_modules/half"))).rejects.toThrow("ENOENT");
  });

  test("that cannot be installed name the step, the last lines and the way out", async () => {
    await writeFile(npm, 'console.error("npm error 404 no such package"); process.exit(1);');
    const { code, stderr } = await start();
    expect(code).toBe(1);
    expect(stderr).toBe(
      "ctm: installing the npm packages (first run in this folder; about half a minute)\n" +
        "install-failed: npm install ended with exit code 1:\n  npm error 404 no such package\n" +
        "next: see that the npm registry answers (npm ping), then run the same command again\n",
    );
  });

  test("that do not fit on the disk say so", async () => {
    await writeFile(npm, 'console.error("npm error code ENOSPC"); process.exit(1);');
    expect((await start()).stderr).toMatch(
      /disk-full: npm install ended with exit code 1:\n {2}npm error code ENOSPC\nnext: free some disk space and run the same command again\n$/,
    );
  });

  test.runIf(process.getuid?.() === 0)("of another's checkout are not touched", async () => {
    const finished = await run(process.execPath, [join(checkout, "bin/run"), "program.ts"], {
      env: environment(),
      identity: { uid: 65534, gid: 65534 },
      accept: [1],
    });
    expect(finished.stderr.replaceAll(checkout, "CHECKOUT")).toBe(
      "checkout-not-writable: the npm packages in CHECKOUT/node_modules are not those of package-lock.json, and cannot be installed: EACCES: permission denied, mkdir 'CHECKOUT/.tmp'\n" +
        "next: run the same command once as the owner of CHECKOUT\n",
    );
  });
});

describe("Node", () => {
  /** As on a machine whose own Node is too old, with `archive` in the registry. */
  async function pretendOldNode(pinned: Buffer, served: Buffer): Promise<void> {
    const file = join(checkout, "bin/bootstrap.js");
    const sum = createHash("sha512").update(pinned).digest("base64");
    const text = await readFile(file, "utf8");
    await writeFile(
      file,
      text.replace("[22, 18]", "[99, 0]").replaceAll(/"sha512-[^"]+"/g, `"sha512-${sum}"`),
    );
    await writeFile(join(folder, "served.tgz"), served);
    await writeFile(
      npm,
      `const fs = require("node:fs");
       if (process.argv[2] === "pack") {
         fs.appendFileSync("../../../pack.log", process.argv[3] + "\\n");
         fs.copyFileSync("../../../served.tgz", "node.tgz");
         console.log(JSON.stringify([{ filename: "node.tgz" }]));
       } else {${quickNpm}}`,
    );
  }

  async function packNode(): Promise<Buffer> {
    const content = join(folder, "content/package");
    await mkdir(join(content, "bin"), { recursive: true });
    await writeFile(join(content, "LICENSE"), "a license");
    await writeFile(join(content, "bin/node"), `#!/bin/sh\nexec '${process.execPath}' "$@"\n`, {
      mode: 0o755,
    });
    await run("tar", ["-czf", join(folder, "node.tgz"), "-C", join(folder, "content"), "package"]);
    return readFile(join(folder, "node.tgz"));
  }

  test("is fetched where the machine's own is too old, once and for all users", async () => {
    const archive = await packNode();
    await pretendOldNode(archive, archive);
    const umask = process.umask(0o077);
    const first = await start().finally(() => process.umask(umask));
    expect(first.code).toBe(0);
    expect(first.stderr.replace(folder, "FOLDER")).toBe(
      `ctm: fetching Node 22.23.3 into FOLDER/cache/node, as this machine's ${process.versions.node} cannot run TypeScript (45 MB)\n` +
        "ctm: installing the npm packages (first run in this folder; about half a minute)\n",
    );
    expect(await readFile(join(folder, "pack.log"), "utf8")).toBe(
      `node-linux-${process.arch}@22.23.3\n`,
    );
    const second = await start();
    expect({ code: second.code, stderr: second.stderr }).toEqual({ code: 0, stderr: "" });
    const closed: string[] = [];
    for (const path of [
      "cache",
      "cache/node",
      "cache/node/22.23.3",
      "cache/node/22.23.3/bin/node",
    ]) {
      const { mode } = await stat(join(folder, path));
      if ((mode & 0o055) !== 0o055) closed.push(path);
    }
    expect(closed).toEqual([]);
  });

  test("that is not the pinned one is refused", async () => {
    const archive = await packNode();
    await pretendOldNode(Buffer.from("another"), archive);
    const { code, stderr } = await start();
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /\nchecksum-mismatch: node-linux-\w+@22\.23\.3 from the npm registry has the checksum sha512-\S+, not sha512-\S+\nnext: do not use that registry before somebody has found out why\n$/,
    );
    await expect(stat(join(folder, "cache/node/22.23.3"))).rejects.toThrow("ENOENT");
  });

  test("has no place in a cache that cannot be written", async () => {
    await pretendOldNode(Buffer.from(""), Buffer.from(""));
    await writeFile(join(folder, "cache"), "a file");
    expect((await start()).stderr.replaceAll(folder, "FOLDER")).toBe(
      "cache-not-writable: Node 22.23.3 has to be fetched, and ENOTDIR: not a directory, mkdir 'FOLDER/cache/node'\n" +
        "next: set CTM_CACHE to a folder that you may write\n",
    );
  });

  test("is cached where everything else is", () => {
    const saved = process.env["CTM_CACHE"];
    try {
      for (const moved of [undefined, join(folder, "elsewhere")]) {
        if (moved === undefined) delete process.env["CTM_CACHE"];
        else process.env["CTM_CACHE"] = moved;
        expect(cacheRoots()[0]).toBe(cacheRoot());
      }
    } finally {
      if (saved === undefined) delete process.env["CTM_CACHE"];
      else process.env["CTM_CACHE"] = saved;
    }
  });
});
