import { readdir, rm, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  dataMark,
  farFiles,
  homeRoots,
  parseDescriptor,
  stackPaths,
  type Descriptor,
  type StackPaths,
} from "#stack";
import {
  CtmError,
  exists,
  findIdentity,
  isRoot,
  makeDirectory,
  readDirectoryIfExists,
  run,
  runAs,
  writeFileAtomic,
  type Identity,
} from "#system";
import { installPackages, localPackages } from "../../infra/runtime/local/packages.ts";
import type { Context } from "../command.ts";
import { readRepository } from "../facts/repository.ts";
import { bytesText } from "../text.ts";
import { nearRepositories, readArchiveOf } from "./archive.ts";
import { Rclone } from "./copier/rclone.ts";
import { placeKeys, placeStack } from "./escrow-files.ts";
import { moveEscrow, type Escrow } from "./escrow.ts";
import { newestSegment } from "./gaps.ts";
import { checkNewTimeline, placeHistories } from "./histories.ts";
import { startInstance, stopServer } from "./instance.ts";
import { replay, type Reached } from "./replay.ts";
import { backrestOptions, restoreFiles, type InstanceDirectories } from "./restore-files.ts";
import { segmentName } from "./wal.ts";

/** What a rebuild starts from, and where it puts it. */
export interface Rebuild {
  escrow: Escrow;
  descriptor: Descriptor;
  paths: StackPaths;
}

/** What stands on the machine afterwards; `up` makes the rest. */
export interface Rebuilt {
  backup: string;
  reached: Reached;
  /** Of the copy of the far repository. */
  repositoryBytes: number;
}

const infoMs = 120_000;

/**
 * The escrow as of this machine's folders, refused where a stack of that name exists already.
 *
 * @throws CtmError `stack-exists`, `no-far-copy` (both exit 2)
 */
export async function planRebuild(escrow: Escrow, context: Pick<Context, "env">): Promise<Rebuild> {
  const paths = stackPaths(escrow.stack, context.env);
  if (escrow.far === null) {
    throw new CtmError("no-far-copy", `the stack ${escrow.stack} had no far copy`, {
      next: "docs/runbooks/restore-from-kept.md restores from a near repository",
      exitCode: 2,
    });
  }
  if (await exists(paths.descriptor)) {
    throw new CtmError("stack-exists", `there is a stack "${escrow.stack}" on this machine`, {
      next: "npm run down keeps what it has; or use another machine, or another CTM_HOME",
      exitCode: 2,
    });
  }
  const moved = moveEscrow(escrow, homeRoots(context.env));
  return { escrow: moved, descriptor: parseDescriptor(moved.descriptor, "the escrow"), paths };
}

/**
 * Puts a stack on this machine as its far copy has it: keys, near repository, and the data of every
 * member at the newest moment of the archive, proven by replay. May be run again after it failed.
 *
 * @throws CtmError what the steps throw; `no-space` before any data is fetched
 */
export async function rebuild(
  { escrow, descriptor, paths }: Rebuild,
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<Rebuilt> {
  const { progress } = context;
  const [near] = nearRepositories(descriptor);
  const { far } = escrow;
  if (near === undefined || far === null) throw new Error("checked by planRebuild");
  await installPackages([...localPackages(descriptor.postgres.version), "rclone"], (line) =>
    progress.step(line),
  );
  const postgres = (await runAs(descriptor.users.postgres)).identity;
  await placeKeys(escrow, paths, postgres);
  await makeRuntimeDirectories(descriptor);

  const files = farFiles(paths);
  const rclone = new Rclone(files.rclone, far.place, {
    ...(postgres === undefined ? {} : { identity: postgres }),
    ...(far.authority === null ? {} : { authority: far.authority.path }),
  });
  const repositoryBytes = [...(await rclone.list()).values()].reduce((sum, size) => sum + size, 0);
  const { backups } = await readRepository(descriptor, context, infoMs, files.backrest);
  const databaseBytes = backups.at(-1)?.databaseBytes ?? 0;
  const neededBytes = repositoryBytes + databaseBytes * descriptor.postgres.members.length;
  await checkSpace(paths, neededBytes);
  progress.step(`fetching ${bytesText(repositoryBytes)} of backups from ${far.place}`);
  await ownedFolder(near.path, escrow.stack, postgres);
  await rclone.fetch(near.path);

  const rebuilt = await restoreNewest({ escrow, descriptor, paths }, near.path, context);
  // Last: from now on this is a stack, which `up` starts and repairs.
  await placeStack(escrow, paths);
  return { ...rebuilt, repositoryBytes };
}

/** The folders of sockets and locks: `up` makes them its own. */
async function makeRuntimeDirectories({ runtimeDirectories }: Descriptor): Promise<void> {
  for (const { path, mode, owner } of runtimeDirectories) {
    // The service's user may not exist yet.
    const identity = isRoot() ? await findIdentity(owner) : undefined;
    await makeDirectory(path, { mode: Number.parseInt(mode, 8), owner: identity });
  }
}

/** @throws CtmError `no-space` */
async function checkSpace(paths: StackPaths, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(paths.state);
  const free = bavail * bsize;
  if (free > neededBytes) return;
  throw new CtmError(
    "no-space",
    `the repository and every member's data take ${bytesText(neededBytes)}, and ${bytesText(free)} are free in ${paths.state}`,
    { next: "a larger disk; nothing was fetched yet" },
  );
}

/** Restores into the first member's folder, replays all WAL there is, and copies it to the others. */
async function restoreNewest(
  { escrow, descriptor, paths }: Rebuild,
  repository: string,
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<Omit<Rebuilt, "repositoryBytes">> {
  const { progress } = context;
  const { identity } = await runAs(descriptor.users.postgres);
  const [first, ...others] = descriptor.postgres.members;
  if (first === undefined) throw new Error("the descriptor names no member");
  const work = join(paths.state, "rebuild");
  const configuration = join(work, "pgbackrest.conf");
  await makeDirectory(work, { mode: 0o700, owner: identity });
  await writeFileAtomic(
    configuration,
    `[global]
repo1-path=${repository}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=${escrow.repository_cipher}
compress-type=zst
`,
    { mode: 0o600, owner: identity },
  );
  const source = {
    configuration,
    stanza: descriptor.backup.stanza,
    user: descriptor.users.postgres,
  };
  const facts = await readRepository(descriptor, context, infoMs, configuration);
  const newest = facts.backups.findLast(({ damaged }) => !damaged);
  if (newest === undefined) {
    throw new CtmError("no-backup", "the far copy holds no backup that can be restored", {
      next: "docs/runbooks/lost-region.md",
    });
  }
  const directories: InstanceDirectories = { data: first.dataDirectory, work };
  for (const { dataDirectory } of descriptor.postgres.members) {
    await ownedFolder(dataDirectory, escrow.stack, identity);
  }
  // What an earlier attempt left is brought to what the backup has.
  const delta = (await readdir(first.dataDirectory)).length > 0;
  await restoreFiles(source, directories, { set: newest.label, delta }, context);

  const { archives } = await readArchiveOf({ name: "near", configuration }, descriptor, context);
  const archive = archives.find(({ id }) => id === newest.archiveId);
  const through = archive === undefined ? undefined : newestSegment(archive);
  if (archive !== undefined) {
    await placeHistories(first.dataDirectory, archive, { user: source.user });
  }
  const push = ["pgbackrest", ...backrestOptions(source, directories), "archive-push"].join(" ");
  const instance = await startInstance({
    source,
    directories,
    binaries: descriptor.postgres.binaries,
    stop: { kind: "end" },
    timeline: "latest",
    archiveCommand: `${push} "%p"`,
  });
  try {
    const reached = await replay(
      instance,
      {
        from: newest.firstWal,
        through: through === undefined ? newest.lastWal : segmentName(through),
      },
      context,
    );
    progress.step("beginning a new timeline");
    const timeline = await instance.promote();
    if (archive !== undefined) checkNewTimeline(timeline, archive);
    await stopServer(directories, "fast");
    for (const { name, dataDirectory } of others) {
      progress.step(`giving ${name} a copy of the data`);
      await copyData(first.dataDirectory, dataDirectory);
    }
    await rm(work, { recursive: true, force: true });
    return { backup: newest.label, reached };
  } finally {
    await stopServer(directories, "fast");
  }
}

/** A clean copy of a stopped server is a standby's beginning, without a second transfer. */
async function copyData(from: string, to: string): Promise<void> {
  await rm(to, { recursive: true, force: true });
  await run("cp", ["--archive", "--reflink=auto", from, to], { timeoutMs: 24 * 3_600_000 });
}

/** A folder with the mark by which `up` knows that its content is this stack's. */
async function ownedFolder(
  path: string,
  stack: string,
  owner: Identity | undefined,
): Promise<void> {
  const mark = dataMark(path);
  if (!(await exists(mark))) {
    const content = await readDirectoryIfExists(path);
    if (content.length > 0) {
      throw new CtmError("foreign-data", `${path} holds data that ctm did not put there`, {
        next: `move ${path} away`,
      });
    }
    await makeDirectory(dirname(path), { mode: 0o755 });
    await writeFileAtomic(mark, `${stack}\n`, { mode: 0o644 });
  }
  await makeDirectory(path, { mode: 0o700, owner: isRoot() ? owner : undefined });
}
