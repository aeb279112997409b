import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  authorityFiles,
  backendFiles,
  credentialPath,
  farFiles,
  homeRoots,
  readCredential,
  readOwn,
  type StackPaths,
} from "#stack";
import {
  CtmError,
  exists,
  makeDirectory,
  readFileIfExists,
  writeFileAtomic,
  type Identity,
} from "#system";
import { rclonePath } from "../../infra/backup/far-repository.ts";
import { portsFile } from "../../infra/runtime/local/ports.ts";
import type { Stack } from "../open-stack.ts";
import { farRepositories } from "./archive.ts";
import type { Escrow } from "./escrow.ts";

/**
 * Everything that an escrow takes along, from where `up` wrote it.
 *
 * @throws CtmError `no-permission`, `credential-missing`, `file-missing`
 */
export async function gatherEscrow(
  { descriptor, paths }: Stack,
  env: NodeJS.ProcessEnv,
): Promise<Escrow> {
  const authority = authorityFiles(paths);
  return {
    format: 1,
    stack: descriptor.stack,
    made_at: new Date().toISOString(),
    home: homeRoots(env),
    descriptor: await readFile(paths.descriptor, "utf8"),
    ports: await readFile(join(paths.state, portsFile), "utf8"),
    repository_cipher: await readCredential(paths, "repository-cipher"),
    settings_key: await readCredential(paths, "settings-key"),
    authority: {
      certificate: await readFile(authority.certificate, "utf8"),
      key: await readSecret(authority.key),
    },
    far: await readFar({ descriptor, paths }),
    pulumi: await readBackend(paths),
  };
}

/** Keys where `up` looks for them: it takes over what is there. */
export async function placeKeys(
  escrow: Escrow,
  paths: StackPaths,
  postgres: Identity | undefined,
): Promise<void> {
  const { far } = escrow;
  const authority = authorityFiles(paths);
  await makeDirectory(paths.state, { mode: 0o755 });
  await makeDirectory(paths.credentials, { mode: 0o711 });
  await makeDirectory(paths.tls, { mode: 0o755 });
  const secret = { mode: 0o600 };
  const open = { mode: 0o644 };
  const line = (name: "repository-cipher" | "settings-key", value: string): Promise<void> =>
    writeFileAtomic(credentialPath(paths, name), `${value}\n`, secret);
  await writeFileAtomic(join(paths.state, portsFile), escrow.ports, open);
  await line("repository-cipher", escrow.repository_cipher);
  await line("settings-key", escrow.settings_key);
  await writeFileAtomic(authority.certificate, escrow.authority.certificate, open);
  await writeFileAtomic(authority.key, escrow.authority.key, secret);
  if (far === null) return;
  if (far.authority !== null && !(await exists(far.authority.path))) {
    await makeDirectory(dirname(far.authority.path), { mode: 0o755 });
    await writeFileAtomic(far.authority.path, far.authority.pem, open);
  }
  const files = farFiles(paths);
  await makeDirectory(files.folder, { mode: 0o755, owner: postgres });
  const own = { mode: 0o600, owner: postgres };
  await writeFileAtomic(files.backrest, far.backrest, own);
  await writeFileAtomic(files.rclone, far.rclone, own);
}

/** Pulumi's state of the stack, and last its descriptor: from now on this is a stack. */
export async function placeStack(escrow: Escrow, paths: StackPaths): Promise<void> {
  const { pulumi } = escrow;
  const files = backendFiles(paths);
  // A home that has other stacks has a passphrase, and this one's secrets are not encrypted with it.
  if (pulumi !== null && !(await exists(files.passphrase))) {
    await makeDirectory(paths.pulumi, { mode: 0o700 });
    await makeDirectory(dirname(files.checkpoint), { mode: 0o700 });
    const secret = { mode: 0o600 };
    await writeFileAtomic(files.passphrase, pulumi.passphrase, secret);
    await writeFileAtomic(files.checkpoint, pulumi.checkpoint, secret);
    await writeFileAtomic(files.configuration, pulumi.configuration, secret);
  }
  await writeFileAtomic(paths.descriptor, escrow.descriptor, { mode: 0o644 });
}

async function readFar({ descriptor, paths }: Stack): Promise<Escrow["far"]> {
  const [far] = farRepositories(descriptor);
  if (far === undefined) return null;
  const files = farFiles(paths);
  const backrest = await readSecret(files.backrest);
  const authority = /^repo1-storage-ca-file=(.+)$/m.exec(backrest)?.[1];
  return {
    backrest,
    rclone: await readSecret(files.rclone),
    place: rclonePath(far),
    authority:
      authority === undefined ? null : { path: authority, pem: await readFile(authority, "utf8") },
  };
}

/** The file backend's part of this stack; null where Pulumi's state is kept elsewhere. */
async function readBackend(paths: StackPaths): Promise<Escrow["pulumi"]> {
  const files = backendFiles(paths);
  const checkpoint = await readFileIfExists(files.checkpoint);
  const passphrase = await readFileIfExists(files.passphrase);
  const configuration = await readFileIfExists(files.configuration);
  if (checkpoint === undefined || passphrase === undefined) return null;
  return { checkpoint, passphrase, configuration: configuration ?? "" };
}

async function readSecret(path: string): Promise<string> {
  const text = await readOwn(path);
  if (text !== undefined) return text;
  throw new CtmError("file-missing", `${path} does not exist`, {
    next: "npm run up writes it anew",
  });
}
