import { userInfo } from "node:os";
import { CtmError } from "./error.ts";
import type { Identity } from "./files.ts";
import { run } from "./run.ts";

/** True when this process may change owners and users. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** The numeric identity of an OS user, or undefined when there is no such user. */
export async function findIdentity(user: string): Promise<Identity | undefined> {
  const own = userInfo();
  if (own.username === user) return { uid: own.uid, gid: own.gid };
  const { stdout, code } = await run("getent", ["passwd", user], { accept: [0, 2] });
  if (code !== 0) return undefined;
  const [, , uid, gid] = stdout.split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

/**
 * The numeric identity of an OS user.
 *
 * @throws CtmError `no-such-user`
 */
export async function identityOf(user: string): Promise<Identity> {
  const identity = await findIdentity(user);
  if (identity !== undefined) return identity;
  throw new CtmError("no-such-user", `this machine has no user "${user}"`, {
    next: "npm run up (as root it makes the users that it needs)",
  });
}

/**
 * What to add to `run` so that a program runs as `user`: nothing when that is who we are.
 *
 * @throws CtmError `no-permission` when we are neither that user nor root
 */
export async function runAs(user: string): Promise<{ identity?: Identity }> {
  if (userInfo().username === user) return {};
  if (!isRoot()) {
    throw new CtmError("no-permission", `only root or ${user} can do this`, {
      next: `run it as root, or as ${user}`,
    });
  }
  return { identity: await identityOf(user) };
}
