import { chmod, rm, writeFile } from "node:fs/promises";
import { CtmError, exists, isRoot, run } from "#system";

/** Debian packages that a local stack needs; each is one part of the design's picture. */
export function localPackages(postgresVersion: number): string[] {
  return [
    `postgresql-${postgresVersion}`,
    "patroni",
    // ss, which tells who listens on a port that is taken.
    "iproute2",
    "etcd-server",
    "haproxy",
    "pgbackrest",
    "supervisor",
  ];
}

/** Those of `packages` that are not installed. */
export async function missingPackages(packages: readonly string[]): Promise<string[]> {
  const { stdout } = await run(
    "dpkg-query",
    ["--show", "--showformat", "${Package} ${db:Status-Status}\n", ...packages],
    { accept: [0, 1] },
  );
  const installed = new Set(
    stdout
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

/**
 * Installs Debian packages without starting any service of theirs and without making a
 * PostgreSQL cluster of the distribution's.
 *
 * @throws CtmError `packages-missing` for an ordinary user, `command-failed` when apt fails
 */
export async function installPackages(
  packages: readonly string[],
  report: (line: string) => void,
): Promise<void> {
  const missing = await missingPackages(packages);
  if (missing.length === 0) return;
  if (!isRoot()) {
    throw new CtmError(
      "packages-missing",
      `these Debian packages are missing: ${missing.join(" ")}`,
      {
        next: `sudo env DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y ${missing.join(" ")}`,
      },
    );
  }
  report(`installing Debian packages: ${missing.join(" ")}`);
  await withoutServiceStarts(async () => {
    const apt = (...args: string[]): Promise<unknown> =>
      run("apt-get", args, {
        timeoutMs: 15 * 60_000,
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C.UTF-8" },
      });
    const clusterPolicy = "/etc/postgresql-common/createcluster.conf";
    const hadPolicy = await exists(clusterPolicy);
    if (!hadPolicy && missing.some((name) => name.startsWith("postgresql-"))) {
      await apt("update", "-qq");
      await apt("install", "-y", "-qq", "--no-install-recommends", "postgresql-common");
      await run("sed", [
        "-i",
        "s/^#\\?create_main_cluster.*/create_main_cluster = false/",
        clusterPolicy,
      ]);
    } else {
      await apt("update", "-qq");
    }
    await apt("install", "-y", "-qq", "--no-install-recommends", ...missing);
  });
  const left = await missingPackages(packages);
  if (left.length > 0) {
    throw new CtmError(
      "packages-missing",
      `apt-get ended well, yet these are missing: ${left.join(" ")}`,
      {
        next: `apt-get install ${left.join(" ")}`,
      },
    );
  }
}

/** Debian's switch against starting services at installation: policy-rc.d answering 101. */
async function withoutServiceStarts(work: () => Promise<void>): Promise<void> {
  const policy = "/usr/sbin/policy-rc.d";
  const ours = !(await exists(policy));
  if (ours) {
    await writeFile(policy, "#!/bin/sh\nexit 101\n");
    await chmod(policy, 0o755);
  }
  try {
    await work();
  } finally {
    if (ours) await rm(policy, { force: true });
  }
}
