import { rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { CtmError, exists, readDirectoryIfExists } from "#system";
import {
  authorityFiles,
  backendFiles,
  credentialPath,
  keptPath,
  readDescriptorIfExists,
  stackPaths,
  type StackPaths,
} from "#stack";
import { endProcesses, stackProcesses, stopStack } from "#runtime";
import {
  forgetSalt,
  hasResources,
  openWorkspace,
  pulumi,
  recoverPendingOperations,
  selectStack,
  showPulumi,
  takeTurn,
  type Workspace,
} from "../../infra/automation/index.ts";
import { clientOf } from "../../infra/cloudflare/find-existing.ts";
import { defineCommand, type Context } from "../command.ts";
import { toggle } from "../parameters.ts";
import { removeScratch, scratchNotes } from "../recovery/scratch.ts";

export const command = defineCommand({
  help: "Stops and removes a stack. Its backup repository, the repository's passphrase, the settings key and the CA are moved to kept/STACK-TIME, from which a restore works; --purge deletes those too. Works on a stack whose cluster is dead.",
  examples: [
    { run: "npm run down", does: "asks, then removes the local stack" },
    { run: "ctm down --stack staging --yes", does: "without asking" },
  ],
  arguments: {},
  flags: { purge: toggle("also delete what a restore would need") },
  destructive: true,
  document: z.strictObject({
    stack: z.string(),
    removed: z.boolean(),
    /** Folder with the repository and its keys; null when there was none, or it was purged. */
    kept: z.string().nullable(),
  }),
  async run({ purge }, context) {
    const report = (line: string): void => context.progress.step(line);
    const paths = stackPaths(context.stack, context.env);
    if (!(await exists(paths.state)) && !(await exists(paths.pulumi))) {
      return { stack: context.stack, removed: false, kept: null };
    }
    report("making Pulumi ready");
    const workspace = await openWorkspace(
      context.stack,
      (line) => process.stderr.write(`${line}\n`),
      context.env,
    );
    await takeTurn(workspace, report);
    context.progress.clear();
    await context.confirm(planOf(paths, purge));

    // They stand outside the stack's folders, and nobody would know of them any more.
    for (const note of await scratchNotes(paths)) await removeScratch(paths, note);
    const before = await keptFolders(paths);
    const configuration = await selectStack(workspace);
    await recoverPendingOperations(
      workspace,
      { provisioning: undefined, cloudflare: clientOf(configuration, context.signal) },
      report,
    );
    if (await hasResources(workspace)) {
      if (configuration.cloudflare !== undefined) await refreshEdge(workspace, report);
      await destroy(workspace, context);
    }
    report("removing what is left");
    await removeLeftovers(paths, report);
    await forgetStack(workspace);
    const kept = (await keptFolders(paths)).filter((folder) => !before.includes(folder));
    if (purge) {
      for (const folder of kept) await rm(folder, { recursive: true, force: true });
      await removeEmpty(paths.kept);
    }
    return { stack: context.stack, removed: true, kept: purge ? null : (kept[0] ?? null) };
  },
  render({ stack, removed, kept }) {
    if (!removed) return `There is no stack "${stack}" here.`;
    return [
      `The stack "${stack}" is gone: no process, port or file of it is left.`,
      kept === null ? "Nothing of it was kept." : `Kept, for a restore: ${kept}`,
    ].join("\n");
  },
});

function planOf(paths: StackPaths, purge: boolean): string {
  return [
    `The stack "${paths.stack}" will be stopped and removed, with every row in its database:`,
    `  removed  ${paths.state}, ${paths.run}, ${paths.log}`,
    purge
      ? "  also removed (--purge): the backup repository and its keys; no restore is possible"
      : `  kept     the backup repository, its passphrase, the settings key and the CA, in ${paths.kept}`,
  ].join("\n");
}

/** Cloudflare's provider fails to delete what somebody deleted already: it has to learn of it first. */
async function refreshEdge(workspace: Workspace, report: (line: string) => void): Promise<void> {
  report("looking at what is left at Cloudflare");
  const targets = ["--target", "**cloudflare:index/**"];
  await pulumi(workspace, ["refresh", "--yes", "--skip-preview", "--suppress-outputs", ...targets]);
}

async function destroy(workspace: Workspace, context: Context): Promise<void> {
  await pulumi(workspace, ["state", "unprotect", "--all", "--yes"]);
  context.progress.clear();
  const code = await showPulumi(
    workspace,
    ["destroy", "--yes", "--skip-preview", "--suppress-outputs"],
    context.signal,
  );
  if (code === 0) return;
  throw new CtmError("down-failed", "Pulumi did not finish; what it said stands above", {
    next: "mend the cause, then npm run down again",
  });
}

/** What Pulumi did not know of: leftovers of killed runs, and stacks whose state was lost. */
async function removeLeftovers(paths: StackPaths, report: (line: string) => void): Promise<void> {
  const descriptor = await readDescriptorIfExists(paths.stack, paths);
  if (descriptor !== undefined) await stopStack(descriptor, { report });
  await endProcesses(await stackProcesses(paths.state), 60_000);
  const authority = authorityFiles(paths);
  const precious: [path: string, name: string][] = [
    [paths.repository, "repository"],
    [credentialPath(paths, "repository-cipher"), "repository-cipher"],
    [credentialPath(paths, "settings-key"), "settings-key"],
    [authority.certificate, "ca.crt"],
    [authority.key, "ca.key"],
    [paths.descriptor, "descriptor.json"],
  ];
  for (const [path, name] of precious) {
    if (!(await exists(path))) continue;
    const keep = { stateDirectory: paths.state, kept: paths.kept, stack: paths.stack, name };
    await rename(path, await keptPath(keep));
  }
  for (const folder of [paths.state, paths.run, paths.log]) {
    await rm(folder, { recursive: true, force: true });
  }
  await removeEmpty(dirname(paths.run), dirname(paths.log));
}

/** Removes shared folders that the last stack leaves empty. */
async function removeEmpty(...folders: readonly string[]): Promise<void> {
  for (const folder of folders) await rmdir(folder).catch(() => undefined);
}

async function keptFolders(paths: StackPaths): Promise<string[]> {
  const names = await readDirectoryIfExists(paths.kept);
  return names.map((name) => join(paths.kept, name));
}

/**
 * Removes the stack from the backend. With the last one our file backend goes too, and with it the
 * passphrase: the salt in the configuration would fit no other.
 */
async function forgetStack(workspace: Workspace): Promise<void> {
  const { paths, fileBackend, stack } = workspace;
  await pulumi(workspace, ["stack", "rm", stack, "--yes", "--force", "--preserve-config"]);
  const { brokenCheckpoint, configuration } = backendFiles(paths);
  for (const path of [brokenCheckpoint, configuration]) await rm(path, { force: true });
  if (fileBackend === undefined) return;
  const listed = z
    .array(z.unknown())
    .parse(JSON.parse(await pulumi(workspace, ["stack", "ls", "--json"])));
  if (listed.length > 0) return;
  await rm(paths.pulumi, { recursive: true, force: true });
  await forgetSalt(stack);
}
