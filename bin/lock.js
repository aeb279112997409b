"use strict";
const { spawn } = require("node:child_process");
const fs = require("node:fs");

/**
 * Takes the kernel's lock on a file: exclusive, and gone with the last process that holds the
 * descriptor, however it died. So there is never a stale lock to judge, and a child that was given
 * `descriptor` keeps the lock when its parent is killed.
 *
 * Node has no flock(2), but a lock belongs to the open file, which flock(1) shares with us.
 *
 * @param {string} path made when missing; its content is the holder's pid, for people only
 * @param {(holder: string) => void} onWait called once when another process holds the lock
 */
async function takeLock(path, onWait) {
  const descriptor = fs.openSync(path, "a+", 0o644);
  try {
    if (!(await flock(descriptor, ["--nonblock"]))) {
      const holder = () => fs.readFileSync(path, "utf8").trim();
      // Whoever has just taken it is about to say so.
      if (holder() !== "" || !(await flock(descriptor, ["--timeout", "1"]))) {
        onWait(holder() || "unknown");
        if (!(await flock(descriptor, []))) throw new Error(`flock on ${path} failed`);
      }
    }
    fs.ftruncateSync(descriptor);
    fs.writeSync(descriptor, `${process.pid}\n`);
  } catch (error) {
    fs.closeSync(descriptor);
    throw error;
  }
  const release = () => {
    // The next holder's waiters must not be told of us.
    fs.ftruncateSync(descriptor);
    fs.closeSync(descriptor);
  };
  return { descriptor, release };
}

/** True when the lock was taken, false when another holds it (only with --nonblock). */
function flock(descriptor, options) {
  return new Promise((resolve, reject) => {
    const child = spawn("flock", ["--exclusive", ...options, "3"], {
      stdio: ["ignore", "ignore", "ignore", descriptor],
    });
    child.on("error", reject);
    child.on("close", (code) => resolve(code === 0));
  });
}

module.exports = { takeLock };
