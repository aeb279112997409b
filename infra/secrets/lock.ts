import { join } from "node:path";
import { z } from "zod";
import { credentialPath, type CredentialName, type StackPaths } from "#stack";
import type { CtmError } from "#system";
import { readGenerated } from "./generated.ts";
import { passphraseLost } from "./lost-passphrase.ts";
import { settingsKeyLost } from "./lost-settings-key.ts";

const path = z.string().startsWith("/");

/** What only one secret opens: while it holds anything, no other secret may be made. */
export const lockSchema = z.discriminatedUnion("of", [
  /** pgBackRest's repository. */
  z.strictObject({ of: z.literal("repository"), folder: path }),
  /** The encrypted settings in a stack's database. */
  z.strictObject({ of: z.literal("settings"), members: path, descriptor: path }),
]);
export type Lock = z.infer<typeof lockSchema>;

/** The secrets of a stack that open something, with what that is. */
export function locksOf(paths: StackPaths): ReadonlyMap<CredentialName, Lock> {
  return new Map<CredentialName, Lock>([
    ["repository-cipher", { of: "repository", folder: paths.repository }],
    [
      "settings-key",
      { of: "settings", members: join(paths.state, "members"), descriptor: paths.descriptor },
    ],
  ]);
}

/**
 * Why another secret may not be made: the one in this file is gone, empty or cut off, and what it
 * opens is still there. Pulumi's state may have it. Undefined where nothing would be lost.
 */
export async function lossOf(
  lock: Lock,
  credential: string,
  prefix = "",
): Promise<CtmError | undefined> {
  if ((await readGenerated(credential, prefix)) !== undefined) return undefined;
  return lock.of === "repository"
    ? await passphraseLost(lock.folder, credential)
    : await settingsKeyLost(lock, credential);
}

/** A secret that this machine has in no file any more, though what it opens is there. */
export interface Loss {
  /** Of the credential as of its resource. */
  name: CredentialName;
  error: CtmError;
}

/** Every secret of a stack that another may not take the place of; Pulumi's state may have them. */
export async function lossesOf(paths: StackPaths): Promise<Loss[]> {
  const losses: Loss[] = [];
  for (const [name, lock] of locksOf(paths)) {
    const error = await lossOf(lock, credentialPath(paths, name));
    if (error !== undefined) losses.push({ name, error });
  }
  return losses;
}
