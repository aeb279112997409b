import { z } from "zod";
import { CtmError } from "#system";
import {
  keepConfiguration,
  openWorkspace,
  pulumi,
  selectStack,
  takeTurn,
  type Workspace,
} from "../../infra/automation/index.ts";
import type { Context } from "../command.ts";
import { applyProgram, told } from "../up/apply.ts";
import { openEdge, type OpenedEdge } from "./open-edge.ts";

const configured = z.looseObject({});
type Configured = z.infer<typeof configured>;

/**
 * What `up` writes of the edge on this machine: it has to follow every change. Pulumi's pattern
 * matches whole URNs.
 */
const ownFiles = [
  "**ctm:cloudflare:EdgeFiles$ctm:host:File::settings",
  "**ctm:cloudflare:EdgeFiles$ctm:host:SecretFile::access-tokens",
];

/**
 * Changes the stack's `ctm:cloudflare` and applies the change to Cloudflare at once, leaving the
 * rest of the stack alone: it must work while the database is under water. What is configured is
 * what is applied, so the next `up` finds nothing to do.
 *
 * @param targets URN patterns of the resources that the change is about
 * @returns the edge as it is afterwards
 * @throws CtmError `up-failed`, `edge-differs` when the configuration is not what `up` applied
 */
export async function changeSettings(
  context: Context,
  change: (settings: Configured) => Configured,
  targets: readonly string[],
): Promise<OpenedEdge> {
  const report = (line: string): void => context.progress.step(line);
  report("making Pulumi ready");
  const workspace = await openWorkspace(context.stack, told(context), context.env);
  await takeTurn(workspace, report);
  await selectStack(workspace);
  const before = await readConfigured(workspace);
  await writeConfigured(workspace, change(before));
  try {
    await applyTargets(workspace, context, targets);
  } catch (error) {
    // Half of it may be applied. What is configured stays what the person asked for: up goes on.
    throw new CtmError(
      "change-unfinished",
      "the configuration is changed, but Cloudflare did not take it; what Pulumi said stands above",
      { next: "npm run up", cause: error },
    );
  } finally {
    await keepConfiguration(workspace.paths);
  }
  return await openEdge(context);
}

/** Applies a part of the program as it is configured. */
export async function applyTargets(
  workspace: Workspace,
  context: Context,
  targets: readonly string[],
): Promise<void> {
  await applyProgram(
    workspace,
    context,
    [...targets, ...ownFiles].flatMap((target) => ["--target", target]),
  );
}

/** `ctm:cloudflare` as the person wrote it, without defaults. */
async function readConfigured(workspace: Workspace): Promise<Configured> {
  const text = await pulumi(workspace, ["config", "get", "ctm:cloudflare"]);
  return configured.parse(JSON.parse(text));
}

async function writeConfigured(workspace: Workspace, settings: Configured): Promise<void> {
  await pulumi(workspace, ["config", "set", "ctm:cloudflare"], { input: JSON.stringify(settings) });
}
