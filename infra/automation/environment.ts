import { randomBytes } from "node:crypto";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { exists, makeDirectory, writeFileAtomic } from "#system";
import { prepareEngine, type Engine } from "#engine";
import { stackPaths, type StackPaths } from "#stack";

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
}

/**
 * Makes the engine ready and tells how to use it for a stack. The backend is a folder of this
 * machine with a generated passphrase, unless the caller's environment names another.
 */
export async function openWorkspace(
  stack: string,
  report: (line: string) => void,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Workspace> {
  const paths = stackPaths(stack, env);
  const engine = await prepareEngine({ plugins: ["postgresql"], report, env });
  const backend = env["PULUMI_BACKEND_URL"] ?? "";
  const fileBackend = backend === "" ? join(paths.pulumi, "backend") : undefined;
  if (fileBackend !== undefined) await makeDirectory(fileBackend, { mode: 0o700 });
  const hasPassphrase =
    env["PULUMI_CONFIG_PASSPHRASE"] !== undefined ||
    env["PULUMI_CONFIG_PASSPHRASE_FILE"] !== undefined;
  await offerConfiguration(paths);
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

/** The generated passphrase of the file backend; made once, readable by its user only. */
async function passphraseFile(paths: StackPaths): Promise<string> {
  const path = join(paths.pulumi, "passphrase");
  if (!(await exists(path))) {
    await writeFileAtomic(path, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600 });
  }
  return path;
}

/** Pulumi keeps a stack's configuration, with the salt of its secrets, beside the program. */
export function configurationFile(stack: string): string {
  return join(checkout, `Pulumi.${stack}.yaml`);
}

function keptConfiguration(paths: StackPaths): string {
  return join(paths.pulumi, `Pulumi.${paths.stack}.yaml`);
}

/** A second checkout, or one that was cleaned, takes the configuration of the last good run. */
async function offerConfiguration(paths: StackPaths): Promise<void> {
  const kept = keptConfiguration(paths);
  const own = configurationFile(paths.stack);
  if (!(await exists(own)) && (await exists(kept))) await copyFile(kept, own);
}

/** Remembers the configuration that a run used, for other checkouts of this machine. */
export async function keepConfiguration(paths: StackPaths): Promise<void> {
  const own = configurationFile(paths.stack);
  if (await exists(own)) await copyFile(own, keptConfiguration(paths));
}
