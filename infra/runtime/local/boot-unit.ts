import { basename } from "node:path";
import { exists, isRoot } from "#system";
import { stackMark, type RuntimeDirectory, type SupervisorPaths } from "./supervisor.ts";

/** Where an administrator's units are. */
const unitFolder = "/etc/systemd/system";

export function bootUnitPath(stack: string): string {
  return `${unitFolder}/ctm-${stack}.service`;
}

/**
 * True where a unit can start the stack at boot: systemd runs the machine (sd_booted(3)), we may
 * write its units, and the stack is in its usual place rather than in a home of a test.
 */
export async function startsAtBoot(env: NodeJS.ProcessEnv = process.env): Promise<boolean> {
  return isRoot() && (env["CTM_HOME"] ?? "") === "" && (await exists("/run/systemd/system"));
}

/**
 * The unit that starts supervisord at boot, and with it every service. It makes the folders below
 * /run again, which a reboot empties, and gives the services the same environment as `ctm start`.
 */
export function bootUnit(
  stack: string,
  paths: SupervisorPaths,
  directories: readonly RuntimeDirectory[],
): string {
  const folders = directories.map(
    ({ path, owner, mode }) =>
      `ExecStartPre=/usr/bin/install -d -o ${owner} -g ${owner} -m ${mode} ${path}`,
  );
  return `# Written by ctm: changes here are undone by the next up.
[Unit]
Description=ctm stack ${stack}
After=local-fs.target network.target

[Service]
Type=forking
PIDFile=${paths.pidFile}
Environment=LC_ALL=C.UTF-8 TZ=UTC ${stackMark}=${paths.stackDirectory}
${folders.join("\n")}
ExecStart=/usr/bin/supervisord -c ${paths.configuration}
KillMode=mixed
TimeoutStopSec=180

[Install]
WantedBy=multi-user.target
`;
}

/** The unit's name, as systemctl takes it. */
export function unitName(path: string): string {
  return basename(path);
}
