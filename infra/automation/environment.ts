import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  CtmError,
  exists,
  makeDirectory,
  readDirectoryIfExists,
  readFileIfExists,
  writeFileAtomic,
} from "#system";
import { prepareEngine, type Engine, type PluginName } from "#engine";
import { backendFiles, stackPaths, type StackPaths } from "#stack";
import { mendState } from "./locks.ts";

/** The checkout whose program runs. */
export const checkout = fileURLToPath(new URL("../..", import.meta.url));

/** What plain `pulumi` needs to work on a stack: an engine and an environment. */
export interface Workspace {
  stack: string;
  paths: StackPaths;
  engine: Engine;
  /** Variables to set, on top of the caller's; paths and habits, never a secret. */
  variables: Record<string, string>;
  /** The folder of our own file backend, or undefined where the user logged in to another. */
  fileBackend: string | undefined;
  /** Held by a run that changes the stack, and handed to its engine: see locks.ts. */
  lockDescriptor?: number;
}

/**
 * Makes the engine ready and tells how to use it for a stack. The backend is a folder of this
 * machine with a generated passphrase, unless the caller's environment names another.
 *
 * @throws CtmError `pulumi-passphrase-lost`, `pulumi-state-broken`, and those of `prepareEngine`
 */
export async function openWorkspace(
  stack: string,
  report: (line: string) => void,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Workspace> {
  const paths = stackPaths(stack, env);
  const fileBackend = ownBackend(paths, env);
  const hasPassphrase = bringsPassphrase(paths, env);
  if (fileBackend !== undefined && !hasPassphrase) await refuseAnotherPassphrase(paths);
  await mendState({ stack, paths, fileBackend }, report);
  const plugins: PluginName[] = (await namesCloudflare(paths, fileBackend))
    ? ["postgresql", "cloudflare"]
    : ["postgresql"];
  const engine = await prepareEngine({ plugins, report, env });
  if (fileBackend !== undefined) await makeDirectory(fileBackend, { mode: 0o700 });
  if (fileBackend !== undefined && !hasPassphrase) await offerConfiguration(paths);
  return {
    stack,
    paths,
    engine,
    fileBackend,
    variables: {
      ...engine.environment,
      PATH: [...engine.path, env["PATH"] ?? "/usr/bin:/bin"].join(":"),
      PULUMI_STACK: stack,
      ...(fileBackend === undefined ? {} : { PULUMI_BACKEND_URL: `file://${fileBackend}` }),
      ...(hasPassphrase ? {} : { PULUMI_CONFIG_PASSPHRASE_FILE: await passphraseFile(paths) }),
      // Resource types of ours answer previews themselves; nothing is sent anywhere.
      PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION: "true",
    },
  };
}

/**
 * The folder of our own file backend, or undefined where the user logged in to another. A shell that
 * `ctm env` told of a home has our own: the one of the home that the command is for.
 */
export function ownBackend(paths: StackPaths, env: NodeJS.ProcessEnv): string | undefined {
  const { folder } = backendFiles(paths);
  const url = env["PULUMI_BACKEND_URL"] ?? "";
  return url === "" || url === `file://${folder}` || isTold(env) ? folder : undefined;
}

/** Whether the user opens the stack's secrets with a passphrase of their own. */
function bringsPassphrase(paths: StackPaths, env: NodeJS.ProcessEnv): boolean {
  if (env["PULUMI_CONFIG_PASSPHRASE"] !== undefined) return true;
  const file = env["PULUMI_CONFIG_PASSPHRASE_FILE"];
  return file !== undefined && file !== backendFiles(paths).passphrase && !isTold(env);
}

/** Whether `ctm env` made this environment, for whatever home. */
function isTold(env: NodeJS.ProcessEnv): boolean {
  const pulumiFolder = /^file:\/\/(.+)\/backend$/.exec(env["PULUMI_BACKEND_URL"] ?? "")?.[1];
  return (
    pulumiFolder !== undefined &&
    env["PULUMI_CONFIG_PASSPHRASE_FILE"] === join(pulumiFolder, "passphrase")
  );
}

/**
 * Whether the stack has an edge, or something of one that has to be taken away: Cloudflare's plugin
 * is 30 MB that others do not need.
 */
async function namesCloudflare(
  paths: StackPaths,
  fileBackend: string | undefined,
): Promise<boolean> {
  const configurations = [configurationFile(paths.stack), backendFiles(paths).configuration];
  const texts = await Promise.all(configurations.map(readFileIfExists));
  if (texts.some((text) => /^ *ctm:cloudflare:/m.test(text ?? ""))) return true;
  if (fileBackend === undefined) return false;
  const { checkpoint } = backendFiles(paths);
  return (await readFileIfExists(checkpoint))?.includes("pulumi:providers:cloudflare") === true;
}

/** Another passphrase would open no state that is there, and take the old one's place in the escrow. */
async function refuseAnotherPassphrase(paths: StackPaths): Promise<void> {
  const { checkpoint, folder, passphrase } = backendFiles(paths);
  if (await exists(passphrase)) return;
  const files = await readDirectoryIfExists(dirname(checkpoint));
  const stacks = files.filter((name) => name.endsWith(".json"));
  if (stacks.length === 0) return;
  throw new CtmError(
    "pulumi-passphrase-lost",
    `${folder} holds Pulumi's state of ${stacks.map((name) => basename(name, ".json")).join(", ")}, and its passphrase, ${passphrase}, is not there; another one does not open it, so none was made`,
    {
      next: "docs/runbooks/lost-checkout-or-pulumi-state.md: it is in the escrow, and without it the state counts as lost",
      exitCode: 2,
    },
  );
}

/** The generated passphrase of the file backend; made once, readable by its user only. */
async function passphraseFile(paths: StackPaths): Promise<string> {
  const { passphrase: path } = backendFiles(paths);
  if (!(await exists(path))) {
    await writeFileAtomic(path, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600 });
  }
  return path;
}

/**
 * Pulumi keeps a stack's configuration beside the program, and in it the salt of its secrets. Both
 * belong to the home: another checkout takes them over, and a checkout that was used with another
 * home gets the right salt.
 */
async function offerConfiguration(paths: StackPaths): Promise<void> {
  const kept = await readFileIfExists(backendFiles(paths).configuration);
  const own = await readFileIfExists(configurationFile(paths.stack));
  if (own === undefined) {
    if (kept !== undefined) await writeConfiguration(paths.stack, kept);
    return;
  }
  const salt = saltLine(kept ?? "");
  if (saltLine(own) === salt) return;
  const rest = withoutSalt(own);
  await writeConfiguration(paths.stack, salt === undefined ? rest : `${salt}\n${rest}`);
}

/** Remembers the configuration that a run uses, for other checkouts of this machine. */
export async function keepConfiguration(paths: StackPaths): Promise<void> {
  const own = await readFileIfExists(configurationFile(paths.stack));
  if (own !== undefined)
    await writeFileAtomic(backendFiles(paths).configuration, own, { mode: 0o600 });
}

/** Leaves a checkout's configuration as its user wrote it, without the salt of a stack that is gone. */
export async function forgetSalt(stack: string): Promise<void> {
  const own = await readFileIfExists(configurationFile(stack));
  if (own !== undefined) await writeConfiguration(stack, withoutSalt(own));
}

function configurationFile(stack: string): string {
  return join(checkout, `Pulumi.${stack}.yaml`);
}

async function writeConfiguration(stack: string, text: string): Promise<void> {
  const path = configurationFile(stack);
  if (text.trim() === "") await rm(path, { force: true });
  else await writeFileAtomic(path, text, { mode: 0o644 });
}

function saltLine(text: string): string | undefined {
  return text.split("\n").find((line) => line.startsWith("encryptionsalt:"));
}

function withoutSalt(text: string): string {
  return text
    .split("\n")
    .filter((line) => !line.startsWith("encryptionsalt:"))
    .join("\n");
}
