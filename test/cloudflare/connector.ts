import { spawn, type ChildProcess } from "node:child_process";
import { chmod, copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The stand-in for cloudflared as an installed program. */
export interface ConnectorProgram {
  /** For `ctm:cloudflare.cloudflared`. */
  path: string;
  remove(): Promise<void>;
}

/** Installs the stand-in where every user can run it, led to one edge. */
export async function installConnector(
  node: string,
  tunnelAddress: string,
): Promise<ConnectorProgram> {
  const folder = await mkdtemp(join(tmpdir(), "ctm-connector-"));
  await chmod(folder, 0o755);
  const source = fileURLToPath(new URL("cloudflared.ts", import.meta.url));
  await copyFile(source, join(folder, "cloudflared.ts"));
  await chmod(join(folder, "cloudflared.ts"), 0o644);
  const path = join(folder, "cloudflared");
  await writeFile(
    path,
    `#!/bin/sh\nEDGE_TUNNEL=${tunnelAddress} exec ${node} ${folder}/cloudflared.ts "$@"\n`,
  );
  await chmod(path, 0o755);
  return { path, remove: () => rm(folder, { recursive: true }) };
}

export interface RunningConnector {
  child: ChildProcess;
  output: () => string;
  stop(): Promise<void>;
}

/** Runs an installed stand-in with the arguments of cloudflared. */
export function runConnector(path: string, args: readonly string[]): RunningConnector {
  const child = spawn(path, args, { cwd: "/", env: {}, stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    child,
    output: () => output,
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
    },
  };
}
