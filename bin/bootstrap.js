"use strict";
// Everything that runs before Node 22 and the npm packages are there: plain JavaScript, no
// dependencies, Node 18 or newer. It finds or gets both, then hands over to TypeScript.
const { spawn } = require("node:child_process");
const { createHash, randomBytes } = require("node:crypto");
const fs = require("node:fs");
const { homedir } = require("node:os");
const path = require("node:path");
const { takeLock } = require("./lock.js");

/** Native type stripping without a flag came in 22.18. */
const oldestNode = [22, 18];

/**
 * The Node that is fetched where the machine's own is older: the npm package node-linux-ARCH, which
 * carries nothing but the official binary. To move on, take `npm view NAME@VERSION dist.integrity`.
 */
const pinnedNode = {
  version: "22.23.3",
  integrity: {
    x64: "sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
    arm64:
      "sha512-l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==",
  },
};

const checkout = path.dirname(__dirname);

/** What a person can act on; the same two lines as CtmError, which cannot be loaded yet. */
class BootstrapError extends Error {
  constructor(code, what, next) {
    super(what);
    this.code = code;
    this.next = next;
  }
}

/** Runs `file` (relative to the checkout) under the right Node, then exits as it did. */
async function start(file, args) {
  try {
    const node = await findOrFetchNode(say);
    await ensurePackages(checkout, node, say);
    await handOver(node, path.resolve(checkout, file), args);
  } catch (error) {
    const { code, message, next } = describe(error);
    process.stderr.write(`${code}: ${message}\nnext: ${next}\n`);
    process.exitCode = 1;
  }
}

function say(line) {
  process.stderr.write(`ctm: ${line}\n`);
}

/** Our own errors as they are; of the system's, the one that a person can do something about. */
function describe(error) {
  if (error instanceof BootstrapError) return error;
  if (error.code === "ENOSPC") return new BootstrapError("disk-full", error.message, freeSpace);
  throw error;
}

const freeSpace = "free some disk space and run the same command again";

// --- Node ---------------------------------------------------------------------------------------

/** A Node that runs TypeScript: the machine's own, else a cached one, else a fetched one. */
async function findOrFetchNode(report) {
  if (isNewEnough(process.versions.node)) return process.execPath;
  return findCachedNode() ?? (await fetchNode(report));
}

function isNewEnough(version) {
  const [major, minor] = version.split(".").map(Number);
  return major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1]);
}

/**
 * The folders that may hold what was fetched or built: first ours, which we write, then root's.
 * Kept in step with infra/stack/paths.ts by a test.
 */
function cacheRoots() {
  const moved = process.env["CTM_CACHE"];
  if (moved !== undefined && moved !== "") return [path.resolve(moved)];
  const shared = "/var/cache/ctm";
  if (process.getuid() === 0) return [shared];
  return [
    path.join(process.env["XDG_CACHE_HOME"] ?? path.join(homedir(), ".cache"), "ctm"),
    shared,
  ];
}

/** The pinned Node in one of the caches, or undefined. */
function findCachedNode() {
  return cacheRoots()
    .map((root) => path.join(root, "node", pinnedNode.version, "bin", "node"))
    .find(isExecutable);
}

function isExecutable(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Fetches the pinned Node into the cache; its integrity is checked against the pin. */
async function fetchNode(report) {
  const integrity = pinnedNode.integrity[process.arch];
  if (process.platform !== "linux" || integrity === undefined) {
    throw new BootstrapError(
      "node-too-old",
      `this is Node ${process.versions.node}; ${oldestNode.join(".")} or newer is needed, and there is no pinned one for ${process.platform} ${process.arch}`,
      `install Node ${oldestNode.join(".")} or newer`,
    );
  }
  const folder = path.join(cacheRoots()[0], "node");
  makeReadableFolder(folder);
  const lock = await takeLock(path.join(folder, ".lock"), (holder) =>
    report(`waiting for process ${holder}, which is fetching Node`),
  );
  const partial = path.join(
    folder,
    `.${pinnedNode.version}-${randomBytes(4).toString("hex")}.partial`,
  );
  try {
    const fetchedMeanwhile = findCachedNode();
    if (fetchedMeanwhile !== undefined) return fetchedMeanwhile;
    report(
      `fetching Node ${pinnedNode.version} into ${folder}, as this machine's ${process.versions.node} cannot run TypeScript (45 MB)`,
    );
    for (const leftover of fs.readdirSync(folder).filter((name) => name.endsWith(".partial"))) {
      fs.rmSync(path.join(folder, leftover), { recursive: true, force: true });
    }
    fs.mkdirSync(partial);
    const name = `node-linux-${process.arch}@${pinnedNode.version}`;
    const step = `fetching ${name} with npm`;
    const packed = await runNpm(["pack", name, "--json", "--no-dry-run"], partial, lock, step);
    const archive = path.join(partial, JSON.parse(packed)[0].filename);
    const actual = `sha512-${createHash("sha512").update(fs.readFileSync(archive)).digest("base64")}`;
    if (actual !== integrity) {
      throw new BootstrapError(
        "checksum-mismatch",
        `${name} from the npm registry has the checksum ${actual}, not ${integrity}`,
        "do not use that registry before somebody has found out why",
      );
    }
    const unpack = ["-xzf", archive, "--no-same-owner", "--strip-components=1", "-C", partial];
    await runToEnd("tar", [...unpack, "package/bin", "package/LICENSE"], partial, lock, step);
    fs.rmSync(archive);
    await runToEnd("chmod", ["-R", "a+rX", partial], partial, lock, step);
    const target = path.join(folder, pinnedNode.version);
    fs.rmSync(target, { recursive: true, force: true });
    fs.renameSync(partial, target);
    return path.join(target, "bin", "node");
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
    lock.release();
  }
}

/** Makes a folder and what is missing above it, for every user to read, whatever our umask is. */
function makeReadableFolder(folder) {
  try {
    const first = fs.mkdirSync(folder, { recursive: true });
    fs.accessSync(folder, fs.constants.W_OK);
    if (first === undefined) return;
    for (let made = folder; made.length >= first.length; made = path.dirname(made)) {
      fs.chmodSync(made, 0o755);
    }
  } catch (error) {
    if (error.code === "ENOSPC") throw error;
    throw new BootstrapError(
      "cache-not-writable",
      `Node ${pinnedNode.version} has to be fetched, and ${error.message}`,
      "set CTM_CACHE to a folder that you may write",
    );
  }
}

// --- npm packages -------------------------------------------------------------------------------

/**
 * Makes node_modules what package-lock.json says. Stamp and list stand for a finished install: they
 * are removed before one and written after it, so that an interrupted one is done from nothing.
 *
 * Not with `npm ci`: it refuses a lock that lacks the packages of other platforms, which npm leaves
 * out where a registry does not have them. And it empties the folder below running programs.
 */
async function ensurePackages(root, node, report) {
  if (isInstalled(root)) return;
  const modules = path.join(root, "node_modules");
  const temporary = path.join(root, ".tmp");
  try {
    fs.mkdirSync(temporary, { recursive: true });
    fs.accessSync(root, fs.constants.W_OK);
  } catch (error) {
    throw new BootstrapError(
      "checkout-not-writable",
      `the npm packages in ${modules} are not those of package-lock.json, and cannot be installed: ${error.message}`,
      `run the same command once as the owner of ${root}`,
    );
  }
  const lock = await takeLock(path.join(temporary, "install.lock"), (holder) =>
    report(`waiting for process ${holder}, which is installing the npm packages`),
  );
  try {
    if (isInstalled(root)) return;
    const marks = [stampName, listName].map((name) => path.join(modules, name));
    const wasFinished = marks.some((mark) => fs.existsSync(mark));
    const why = wasFinished ? "package-lock.json has changed" : "first run in this folder";
    report(`installing the npm packages (${why}; about half a minute)`);
    for (const remove of wasFinished ? marks : [modules]) {
      fs.rmSync(remove, { recursive: true, force: true });
    }
    const checksum = lockChecksum(root);
    await runNpm(["install", ...installOptions], root, lock, "npm install", node);
    fs.writeFileSync(path.join(modules, stampName), checksum);
  } finally {
    lock.release();
  }
}

/** What npm takes from the environment must not decide what is installed, nor change the lock. */
const installOptions = [
  "--no-save",
  "--include=dev",
  "--include=optional",
  "--no-dry-run",
  "--no-audit",
  "--no-fund",
  "--loglevel=error",
];

/** Ours: the checksum of the package-lock.json that was installed. */
const stampName = ".ctm-installed";
/** npm's: what it has installed, written when it is done. */
const listName = ".package-lock.json";

function lockChecksum(root) {
  return createHash("sha256")
    .update(fs.readFileSync(path.join(root, "package-lock.json")))
    .digest("hex");
}

function isInstalled(root) {
  const stamp = path.join(root, "node_modules", stampName);
  const checksum = lockChecksum(root);
  if (readIfExists(stamp) === checksum) return true;
  if (!matchesInstalled(root)) return false;
  try {
    fs.writeFileSync(stamp, checksum);
  } catch {
    // A checkout that we may not write: the comparison is made again next time.
  }
  return true;
}

/** Somebody may have run npm themselves: then its own list says what is there. */
function matchesInstalled(root) {
  const list = readIfExists(path.join(root, "node_modules", listName));
  if (list === undefined) return false;
  const wanted = JSON.parse(fs.readFileSync(path.join(root, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(list).packages;
  return Object.entries(wanted).every(([where, { version, integrity, optional, peer }]) => {
    if (!where.startsWith("node_modules/")) return true;
    const found = installed[where];
    if (found === undefined) return optional === true || peer === true;
    return found.version === version && found.integrity === integrity;
  });
}

function readIfExists(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  }
}

// --- Subprocesses -------------------------------------------------------------------------------

/** npm as it started us, or the one beside this Node, or the one on PATH; run by this Node. */
function findNpm() {
  const caller = process.env["npm_execpath"] ?? "";
  const folders = [path.dirname(process.execPath), ...(process.env["PATH"] ?? "").split(":")];
  const candidates = folders
    .filter((folder) => folder !== "")
    .map((folder) => path.join(folder, "npm"));
  if (path.basename(caller) === "npm-cli.js") candidates.unshift(caller);
  const found = candidates.find((candidate) => fs.existsSync(candidate));
  if (found === undefined) {
    throw new BootstrapError(
      "npm-missing",
      "npm is needed to install what this checkout runs on, and is not on PATH",
      "apt-get install npm",
    );
  }
  const real = fs.realpathSync(found);
  return real.endsWith(".js") ? [process.execPath, real] : [real];
}

/** Runs npm and returns its standard output. Its install scripts find `node` on PATH. */
function runNpm(args, cwd, lock, step, node = process.execPath) {
  const [command, ...before] = findNpm();
  return runToEnd(command, [...before, ...args], cwd, lock, step, withNodeOnPath(node));
}

/** An environment in which the command `node` is this one. */
function withNodeOnPath(node) {
  const folders = (process.env["PATH"] ?? "").split(":").filter((folder) => folder !== "");
  const first = folders.map((folder) => path.join(folder, "node")).find(isExecutable);
  if (first !== undefined && fs.realpathSync(first) === fs.realpathSync(node)) return process.env;
  return { ...process.env, PATH: [path.dirname(node), ...folders].join(":") };
}

/** Runs a program that inherits the lock, so that a second run waits for it even if we die. */
function runToEnd(command, args, cwd, lock, step, env = process.env) {
  return new Promise((resolve, reject) => {
    const stdio = ["ignore", "pipe", "pipe", lock.descriptor];
    const child = spawn(command, args, { cwd, env, stdio });
    let output = "";
    let both = "";
    child.stdout.on("data", (text) => {
      output += text;
      both += text;
    });
    child.stderr.on("data", (text) => (both += text));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve(output);
      const full = /ENOSPC|no space left on device/i.test(both);
      const last = both.trimEnd().split("\n").slice(-15).join("\n  ");
      const what = `${step} ended with ${signal ?? `exit code ${code}`}:\n  ${last}`;
      const next = full
        ? freeSpace
        : "see that the npm registry answers (npm ping), then run the same command again";
      reject(new BootstrapError(full ? "disk-full" : "install-failed", what, next));
    });
  });
}

/** Starts the program with our streams and working folder, and ends as it ends. */
function handOver(node, file, args) {
  // Type stripping is announced as experimental by every Node 22.
  const child = spawn(node, ["--disable-warning=ExperimentalWarning", file, ...args], {
    stdio: "inherit",
    env: withNodeOnPath(node),
  });
  const forward = (signal) => child.kill(signal);
  for (const signal of ["SIGTERM", "SIGHUP", "SIGUSR2"]) process.on(signal, forward);
  // A terminal sends these to the whole group, the program included: a second one from us would
  // read as "stop at once" to the Pulumi engine.
  const onTerminal = hasTerminal();
  for (const signal of ["SIGINT", "SIGQUIT"]) {
    process.on(signal, onTerminal ? () => undefined : forward);
  }
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      if (signal !== null) {
        process.removeAllListeners(signal);
        process.kill(process.pid, signal);
      }
      process.exitCode = code ?? 1;
      resolve();
    });
  });
}

function hasTerminal() {
  try {
    fs.closeSync(fs.openSync("/dev/tty", "r"));
    return true;
  } catch {
    return false;
  }
}

module.exports = { BootstrapError, cacheRoots, ensurePackages, fetchNode, findCachedNode, start };
