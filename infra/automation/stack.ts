import { statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  CtmError,
  exists,
  makeDirectory,
  messageOf,
  systemErrorCode,
  writeFileAtomic,
} from "#system";
import { homeRoots, type StackPaths } from "#stack";
import { parseConfiguration, type Configuration } from "../config.ts";
import { foreseePorts, portsFile, portsOfOtherStacks, readPorts } from "../runtime/local/ports.ts";
import { portRequests } from "../topology.ts";
import { pulumi, runPulumi } from "./pulumi.ts";
import { keepConfiguration, type Workspace } from "./environment.ts";
import { z } from "zod";

/** Room that a first `up` needs: two members with their WAL, a backup, the engine's state. */
const leastFreeBytes = 2 * 1024 ** 3;

/**
 * Refuses a home that cannot hold a stack, before anything is made in it.
 *
 * @throws CtmError `no-permission`, `read-only`, `disk-full`, `bad-home`
 */
export async function checkHome(paths: StackPaths): Promise<void> {
  const { state } = homeRoots();
  if (!/^[\w./-]+$/.test(state)) {
    // supervisord splits its list of included files at white space and expands percent signs.
    throw new CtmError(
      "bad-home",
      `${state} holds other characters than letters, digits and ._/-`,
      {
        next: "set CTM_HOME to a path without them",
        exitCode: 2,
      },
    );
  }
  try {
    await makeDirectory(state, { mode: 0o755 });
    await makeDirectory(paths.pulumi, { mode: 0o700 });
    await writeFileAtomic(`${paths.pulumi}/.writable`, "", { mode: 0o600 });
  } catch (error) {
    throw homeError(state, error);
  }
  const { bavail, bsize } = await statfs(state);
  const free = bavail * bsize;
  if (free >= leastFreeBytes || (await exists(paths.descriptor))) return;
  throw new CtmError(
    "disk-full",
    `${state} has ${megabytes(free)} MB free; a new stack needs ${megabytes(leastFreeBytes)} MB`,
    { next: "make room, or set CTM_HOME to a larger disk" },
  );
}

function homeError(state: string, error: unknown): CtmError {
  const code = systemErrorCode(error);
  if (code === "EACCES" || code === "EPERM") {
    return new CtmError("no-permission", `${state} cannot be written by this user`, {
      next: "run as the user that owns it, or set CTM_HOME",
    });
  }
  if (code === "EROFS") {
    return new CtmError("read-only", `${state} is on a read-only disk`, {
      next: "mount it for writing, or set CTM_HOME",
    });
  }
  if (code === "ENOSPC") {
    return new CtmError("disk-full", `the disk of ${state} is full`, {
      next: "make room, or set CTM_HOME to a larger disk",
    });
  }
  return new CtmError("bad-home", `${state} cannot be used: ${messageOf(error)}`, {
    next: "set CTM_HOME to a folder of yours",
    cause: error,
  });
}

function megabytes(bytes: number): number {
  return Math.floor(bytes / 1024 ** 2);
}

/** Makes the stack in the backend unless it is there; returns its configuration, checked. */
export async function selectStack(workspace: Workspace): Promise<Configuration> {
  const selected = await runPulumi(workspace, ["stack", "select", workspace.stack], {
    acceptFailure: true,
  });
  if (selected.code !== 0) {
    const said = (selected.stderr || selected.stdout).trim();
    if (/no space left on device/.test(said)) {
      throw new CtmError("disk-full", said, { next: "make room: docs/runbooks/disk-full.md" });
    }
    if (!/no stack named/.test(selected.stderr + selected.stdout)) {
      throw new CtmError("pulumi-failed", said, {
        next: "look at PULUMI_BACKEND_URL, and at the passphrase",
      });
    }
    await pulumi(workspace, ["stack", "init", workspace.stack]);
    // A killed run must not lose the salt: without it the state cannot be read again.
    await keepConfiguration(workspace.paths);
  }
  return await checkedConfiguration(workspace);
}

/** The configuration is read once by itself: its errors then need no engine around them. */
async function checkedConfiguration(workspace: Workspace): Promise<Configuration> {
  const text = await pulumi(workspace, ["config", "--json", "--show-secrets"]);
  const values = z
    .record(
      z.string(),
      z.looseObject({ value: z.string().optional(), secret: z.boolean().optional() }),
    )
    .parse(JSON.parse(text));
  const configuration = parseConfiguration(
    Object.fromEntries(Object.entries(values).map(([key, { value }]) => [key, value ?? ""])),
  );
  if (values["ctm:cloudflareToken"]?.secret === false) {
    throw new CtmError("bad-configuration", "ctm:cloudflareToken stands in clear", {
      next: "make a new token, then pulumi config set --secret ctm:cloudflareToken",
      exitCode: 2,
    });
  }
  await checkDemandedPorts(configuration, workspace.paths);
  return configuration;
}

/** A port that cannot be had is told before anything is made. */
async function checkDemandedPorts(configuration: Configuration, paths: StackPaths): Promise<void> {
  const demanded = Object.entries(portRequests(configuration)).filter(
    ([, { demandedBy }]) => demandedBy !== null,
  );
  await foreseePorts(
    Object.fromEntries(demanded),
    await readPorts(join(paths.state, portsFile)),
    await portsOfOtherStacks(dirname(paths.state), paths.state),
  );
}

/** True when the stack has resources in its state, or one of that name. */
export async function hasResources(workspace: Workspace, name?: string): Promise<boolean> {
  const text = await pulumi(workspace, ["stack", "export"]);
  const { deployment } = z
    .looseObject({
      deployment: z
        .looseObject({ resources: z.array(z.looseObject({ urn: z.string() })).nullish() })
        .nullish(),
    })
    .parse(JSON.parse(text));
  const resources = deployment?.resources ?? [];
  return resources.some(({ urn }) => name === undefined || urn.endsWith(`::${name}`));
}
