import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";
import { rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import {
  exists,
  findIdentity,
  identityOf,
  isMissing,
  isRoot,
  makeDirectory,
  readFileIfExists,
  writeFileAtomic,
  type CtmError,
} from "#system";
import { endRemoval, keepSchema, keptPath } from "#stack";
import { readGenerated } from "../../secrets/generated.ts";
import { lockSchema, lossOf } from "../../secrets/lock.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  /** File that holds the secret and a line end, 0600. */
  path: z.string().startsWith("/"),
  /** OS user that may read it. */
  owner: z.string().min(1),
  /** Put before the generated part, such as `user:`. */
  prefix: z.string(),
  /** Another value makes a new secret. */
  generation: z.int().min(1),
  keep: keepSchema.nullable(),
  /** What only this secret opens: while it holds anything, no other secret is made. */
  opens: lockSchema.nullable(),
  /** What the file shall be: `intact`. What it is can be something else. */
  file: z.string(),
});
export type SecretInputs = z.infer<typeof inputs>;
export interface SecretOutputs extends SecretInputs {
  value: string;
  /** PostgreSQL's stored form of `value`: with it no password ever travels to the server. */
  verifier: string;
}

/** A generated secret: encrypted in Pulumi's state, in clear only in its own 0600 file. */
export const secret = defineResourceType<SecretInputs, SecretOutputs>({
  token: "ctm:host:Secret",
  inputs,
  secrets: ["value", "verifier"],
  replacedBy: ["path", "prefix", "generation"],
  ignoredInDiff: ["keep", "opens"],
  async refuse(wanted) {
    const loss = await lossBy(wanted);
    return loss === undefined ? undefined : { property: "path", reason: loss.text };
  },
  async create(wanted) {
    // What a killed run wrote is taken over: something may have been set to it already.
    const written = await readGenerated(wanted.path, wanted.prefix);
    const loss = await lossBy(wanted);
    if (loss !== undefined) throw loss;
    const value = written ?? wanted.prefix + randomBytes(32).toString("base64url");
    await write(wanted, value);
    await endRemoval(wanted.keep);
    return { id: wanted.path, outputs: { ...wanted, value, verifier: scramVerifier(value) } };
  },
  async read(_id, state) {
    return { ...state, file: await condition(state) };
  },
  async update(_id, state, wanted) {
    await write(wanted, state.value);
    return { ...state, ...wanted };
  },
  async delete(_id, state) {
    if (state.keep !== null && (await exists(state.path))) {
      await rename(state.path, await keptPath(state.keep));
    }
    await rm(state.path, { force: true });
  },
});

/** What making this one anew would lose. */
async function lossBy({ opens, path, prefix }: SecretInputs): Promise<CtmError | undefined> {
  return opens === null ? undefined : await lossOf(opens, path, prefix);
}

async function write(wanted: SecretInputs, value: string): Promise<void> {
  await makeDirectory(dirname(wanted.path), { mode: 0o711 });
  await writeFileAtomic(wanted.path, `${value}\n`, {
    mode: 0o600,
    ...(isRoot() ? { owner: await identityOf(wanted.owner) } : {}),
  });
}

async function condition(state: SecretOutputs): Promise<string> {
  try {
    const found = await stat(state.path);
    if ((found.mode & 0o777) !== 0o600) return `mode 0${(found.mode & 0o777).toString(8)}`;
    const owner = await findIdentity(state.owner);
    if (isRoot() && owner?.uid !== found.uid) return `owner uid ${found.uid}`;
  } catch (error) {
    if (isMissing(error)) return "missing";
    throw error;
  }
  const text = await readFileIfExists(state.path);
  return text === `${state.value}\n` ? "intact" : "changed";
}

/**
 * PostgreSQL's SCRAM-SHA-256 verifier (RFC 5803): `SCRAM-SHA-256$4096:SALT$STORED:SERVER`.
 * The values that we hash are ASCII, for which SASLprep changes nothing.
 */
export function scramVerifier(password: string, salt: Buffer = randomBytes(16)): string {
  const iterations = 4096;
  const salted = pbkdf2Sync(password, salt, iterations, 32, "sha256");
  const hmac = (text: string): Buffer => createHmac("sha256", salted).update(text).digest();
  const stored = createHash("sha256").update(hmac("Client Key")).digest("base64");
  const server = hmac("Server Key").toString("base64");
  return `SCRAM-SHA-256$${iterations}:${salt.toString("base64")}$${stored}:${server}`;
}
