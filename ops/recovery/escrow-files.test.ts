import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  authorityFiles,
  backendFiles,
  credentialPath,
  farFiles,
  homeRoots,
  parseDescriptor,
  stackPaths,
} from "#stack";
import { fakeDescriptor } from "../testing/fake-descriptor.ts";
import type { Stack } from "../open-stack.ts";
import { gatherEscrow, placeKeys, placeStack } from "./escrow-files.ts";
import { moveEscrow } from "./escrow.ts";

let folder: string;
const homeOf = (name: string): NodeJS.ProcessEnv => ({ CTM_HOME: join(folder, name) });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-escrow-"));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** A stack with a far copy, as far as an escrow looks at it. */
async function writeStack(env: NodeJS.ProcessEnv): Promise<Stack> {
  const paths = stackPaths("local", env);
  const descriptor = fakeDescriptor();
  const far = farFiles(paths);
  descriptor.backup.repositories.push({
    name: "far",
    number: 2,
    kind: "s3",
    path: "/ctm/local",
    endpoint: "https://s3.example.org",
    region: "eu-1",
    bucket: "backups",
    configuration: far.backrest,
    state: far.state,
  });
  const authority = authorityFiles(paths);
  const pulumi = backendFiles(paths);
  const ownAuthority = join(folder, "s3.pem");
  const contents: [path: string, content: string][] = [
    [paths.descriptor, JSON.stringify(descriptor)],
    [join(paths.state, "ports.json"), "{}"],
    [credentialPath(paths, "repository-cipher"), "cipher\n"],
    [credentialPath(paths, "settings-key"), "key of settings\n"],
    [authority.certificate, "certificate\n"],
    [authority.key, "key\n"],
    [far.rclone, "[far]\n"],
    [far.backrest, `repo1-path=/ctm/local\nrepo1-storage-ca-file=${ownAuthority}\n`],
    [ownAuthority, "another certificate\n"],
    [pulumi.passphrase, "phrase\n"],
    [pulumi.checkpoint, `{"path":"${paths.state}"}`],
    [pulumi.configuration, "config: {}\n"],
  ];
  for (const [path, content] of contents) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
  return { descriptor, paths };
}

test("what was taken along is put where the next escrow finds it, for its user alone", async () => {
  const old = homeOf("old");
  const taken = await gatherEscrow(await writeStack(old), old);
  expect(taken.far?.authority?.pem).toBe("another certificate\n");
  await rm(taken.far?.authority?.path ?? "");

  const env = homeOf("new");
  const paths = stackPaths("local", env);
  const moved = moveEscrow(taken, homeRoots(env));
  await placeKeys(moved, paths, undefined);
  await placeStack(moved, paths);
  const descriptor = parseDescriptor(moved.descriptor, "the escrow");
  const again = await gatherEscrow({ descriptor, paths }, env);
  expect({ ...again, made_at: taken.made_at }).toEqual(moved);
  expect(again.pulumi?.checkpoint).toBe(`{"path":"${paths.state}"}`);

  const secrets = [
    credentialPath(paths, "repository-cipher"),
    credentialPath(paths, "settings-key"),
    authorityFiles(paths).key,
    farFiles(paths).backrest,
    farFiles(paths).rclone,
    backendFiles(paths).passphrase,
    backendFiles(paths).checkpoint,
  ];
  const modes = await Promise.all(secrets.map(async (path) => (await stat(path)).mode & 0o777));
  expect(modes).toEqual(secrets.map(() => 0o600));
});

test("a home that has other stacks keeps its own passphrase", async () => {
  const old = homeOf("old");
  const taken = await gatherEscrow(await writeStack(old), old);
  const env = homeOf("new");
  const files = backendFiles(stackPaths("local", env));
  await mkdir(dirname(files.passphrase), { recursive: true });
  await writeFile(files.passphrase, "its own\n");
  const paths = stackPaths("local", env);
  const moved = moveEscrow(taken, homeRoots(env));
  await placeKeys(moved, paths, undefined);
  await placeStack(moved, paths);
  const descriptor = parseDescriptor(moved.descriptor, "the escrow");
  expect((await gatherEscrow({ descriptor, paths }, env)).pulumi).toBeNull();
});
