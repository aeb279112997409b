import { X509Certificate } from "node:crypto";
import { access, constants, readdir, readFile, stat, statfs } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { DatabaseError } from "pg";
import { credentialPath, readCredential } from "#stack";
import { CtmError, isMissing, isRoot, messageOf } from "#system";
import type { Context } from "../command.ts";
import { connected, stackConnection, type LoginRole } from "../facts/connection.ts";
import type { Stack } from "../open-stack.ts";
import { createShell } from "../shell.ts";
import { nearRepositories } from "../recovery/archive.ts";
import { judge } from "../status/judge.ts";
import { gather, probeMs, type Probes } from "../status/gather.ts";
import { bytesText, countText } from "../text.ts";

/** One thing that was looked at. */
export interface Finding {
  check: string;
  ok: boolean;
  message: string;
  /** What to do; null when it is well. */
  next: string | null;
}

type Check = (stack: Stack, context: Pick<Context, "env" | "signal">) => Promise<Finding[]>;

/** The document's alert: disk space used. */
const fullestDiskShare = 0.8;
/** Time to rotate a certificate in working hours. */
const certificateDays = 30;

/** Everything that is looked at; a check that fails itself is a finding too. */
export async function findings(
  stack: Stack,
  context: Pick<Context, "env" | "signal">,
): Promise<Finding[]> {
  const checks: [string, Check][] = [
    ["programs", checkPrograms],
    ["credentials", checkCredentials],
    ["certificates", checkCertificates],
    ["disk", checkDisk],
    ["files", checkOwners],
    ["services", checkServices],
  ];
  const found = await Promise.all(
    checks.map(async ([name, check]) => {
      try {
        return await check(stack, context);
      } catch (error) {
        const next = error instanceof CtmError ? error.next : undefined;
        const message = error instanceof CtmError ? error.message : messageOf(error);
        return [bad(name, message, next ?? "run as root")];
      }
    }),
  );
  return found.flat();
}

const checkPrograms: Check = async ({ descriptor }, { env }) => {
  if (descriptor.runtime !== "local") return [];
  const folders = [...(env["PATH"] ?? "").split(delimiter), "/usr/bin", "/usr/sbin"];
  const wanted: Readonly<Record<string, string>> = {
    supervisord: "supervisor",
    patroni: "patroni",
    etcd: "etcd-server",
    haproxy: "haproxy",
    pgbackrest: "pgbackrest",
  };
  const missing: string[] = [];
  for (const [program, debianPackage] of Object.entries(wanted)) {
    const places = folders.map((folder) => join(folder, program));
    if (!(await Promise.all(places.map((place) => isExecutable(place)))).includes(true)) {
      missing.push(debianPackage);
    }
  }
  const { binaries, version } = descriptor.postgres;
  if (!(await isExecutable(join(binaries, "postgres")))) missing.push(`postgresql-${version}`);
  const problems = [
    ...(missing.length === 0
      ? []
      : [
          bad(
            "programs",
            `these Debian packages are missing: ${missing.join(" ")}`,
            "npm run up installs them",
          ),
        ]),
    ...(await checkConnector(descriptor)),
  ];
  return problems.length === 0 ? [good("programs", "all are installed")] : problems;
};

/** cloudflared is in no package of Debian: a person installed it, and can take it away. */
async function checkConnector({ edge }: Stack["descriptor"]): Promise<Finding[]> {
  if (edge === null || (await isExecutable(edge.executable))) return [];
  return [
    bad(
      "programs",
      `${edge.executable}, which holds the tunnel to Cloudflare open, cannot be run`,
      "install cloudflared again, as docs/first-deploy.md says",
    ),
  ];
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const checkCredentials: Check = async ({ paths }) => {
  const problems: Finding[] = [];
  const names = await readdir(paths.credentials);
  for (const name of names) {
    const path = join(paths.credentials, name);
    const { mode, size } = await stat(path);
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8);
      problems.push(
        bad("credentials", `${path} can be read by others (mode ${octal})`, `chmod 600 ${path}`),
      );
    }
    if (size === 0) {
      problems.push(bad("credentials", `${path} is empty`, "npm run up writes it anew"));
    }
  }
  if (problems.length > 0) return problems;
  return [good("credentials", `${countText(names.length, "file")}, for their owner only`)];
};

const checkCertificates: Check = async ({ descriptor, paths }) => {
  const { postgres, tls } = descriptor;
  const files = new Set([
    tls.authority,
    tls.etcdCertificate,
    postgres.provisioning.certificate,
    ...(await pemFiles(paths.tls)),
  ]);
  const problems: Finding[] = [];
  let first = Number.POSITIVE_INFINITY;
  for (const file of files) {
    const days = await daysLeft(file);
    if (days === undefined) continue;
    first = Math.min(first, days);
    if (days >= certificateDays) continue;
    const when = days < 0 ? "has expired" : `expires in ${countText(days, "day")}`;
    problems.push(bad("certificates", `${file} ${when}`, "npm run up issues a new one"));
  }
  if (problems.length > 0) return problems;
  return [good("certificates", `the first expires in ${countText(first, "day")}`)];
};

async function pemFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true });
  return entries.filter((name) => /\.(crt|pem)$/.test(name)).map((name) => join(folder, name));
}

/** Days until a certificate expires; undefined when the file holds none. */
async function daysLeft(file: string): Promise<number | undefined> {
  let pem: string;
  try {
    pem = await readFile(file, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  if (!pem.includes("-----BEGIN CERTIFICATE-----")) return undefined;
  const end = new X509Certificate(pem).validToDate.getTime();
  return Math.floor((end - Date.now()) / 86_400_000);
}

const checkDisk: Check = async ({ descriptor, paths }) => {
  const folders = [
    ...descriptor.postgres.members.map(({ dataDirectory }) => dataDirectory),
    ...nearRepositories(descriptor).map(({ path }) => path),
    paths.log,
  ];
  const problems = new Map<number, Finding>();
  let least = Number.POSITIVE_INFINITY;
  for (const folder of folders) {
    const [{ dev }, disk] = await Promise.all([stat(folder), statfs(folder)]);
    const left = disk.bavail * disk.bsize;
    const used = (disk.blocks - disk.bfree) * disk.bsize;
    least = Math.min(least, left);
    const share = used / (used + left);
    // One disk is one problem, however many of our folders are on it.
    if (share > fullestDiskShare && !problems.has(dev)) {
      problems.set(
        dev,
        bad(
          "disk",
          `the disk of ${folder} is ${Math.floor(share * 100)} % full, ${bytesText(left)} are left`,
          "ctm backup list shows what the backups take; free space or enlarge the disk",
        ),
      );
    }
  }
  return problems.size > 0
    ? [...problems.values()]
    : [good("disk", `${bytesText(least)} are left`)];
};

/** pgBackRest run as root leaves files that PostgreSQL's user cannot write, and archiving stops. */
const checkOwners: Check = async ({ descriptor }, context) => {
  const { users, postgres } = descriptor;
  const folders = [
    ...nearRepositories(descriptor).map(({ path }) => path),
    ...postgres.members.map(({ dataDirectory }) => dataDirectory),
  ];
  const shell = createShell(context);
  const finished = await shell({
    timeout: probeMs,
  })`find ${folders} ! -user ${users.postgres} -print -quit`;
  const [found] = finished.stdout.split("\n");
  if (found !== undefined && found !== "") {
    return [
      bad(
        "files",
        `${found} does not belong to ${users.postgres}`,
        `chown -R ${users.postgres}: ${folders.find((folder) => found.startsWith(folder)) ?? found}`,
      ),
    ];
  }
  if (finished.ok) return [good("files", `data and repositories belong to ${users.postgres}`)];
  if (finished.signal !== null)
    return [good("files", `no foreign one in ${probeMs / 1000} s of looking`)];
  return [bad("files", finished.stderr.trim().split("\n")[0] ?? "find failed", "run as root")];
};

/** All that `ctm status` finds, and what only somebody looking closer would see. */
const checkServices: Check = async (stack, context) => {
  const probes = await gather(stack, context);
  const problems = judge(stack.descriptor, probes, new Date());
  const closer =
    probes.rw.facts === null
      ? []
      : [...(await checkLogins(stack)), ...(await checkEncryptedSettings(stack))];
  return [
    ...(problems.length === 0
      ? [good("services", "every part answers and is well")]
      : problems.map(({ message, next }) => bad("services", message, next))),
    ...closer,
    ...checkSchema(probes),
  ];
};

function checkSchema({ schema }: Probes): Finding[] {
  if (schema.facts === null) return [];
  const { pending, version } = schema.facts;
  if (pending === 0) return [good("schema", `version ${version ?? "none"}, nothing pending`)];
  return [bad("schema", `${countText(pending, "migration")} pending`, "ctm migrate up")];
}

/** Roles that may connect to the database; a password changed by hand shows only at a login. */
const loginRoles: readonly LoginRole[] = [
  "ctm_migrator",
  "ctm_api",
  "ctm_query",
  "ctm_monitor",
  "ctm_backup",
];

async function checkLogins(stack: Stack): Promise<Finding[]> {
  const failures = await Promise.all(
    loginRoles.map(async (role) => {
      try {
        const config = await stackConnection(stack, role);
        await connected({ ...config, connectionTimeoutMillis: probeMs }, (client) =>
          client.query("SELECT 1"),
        );
        return undefined;
      } catch (error) {
        return { role, error };
      }
    }),
  );
  const failed = failures.filter((each) => each !== undefined);
  // Class 28, invalid authorization; anything else is no matter of passwords.
  const isRefused = ({ error }: { error: unknown }): boolean =>
    error instanceof DatabaseError && error.code?.startsWith("28") === true;
  const unreached = failed.find((each) => !isRefused(each));
  if (failed.length === 0) {
    return [good("logins", `${countText(loginRoles.length, "role")} can log in`)];
  }
  return [
    ...failed
      .filter(isRefused)
      .map(({ role, error }) =>
        bad("logins", `${role}: ${messageOf(error)}`, "npm run up repairs roles and passwords"),
      ),
    ...(unreached === undefined
      ? []
      : [
          bad(
            "logins",
            `${unreached.role} cannot try: ${messageOf(unreached.error)}`,
            "ctm status",
          ),
        ]),
  ];
}

/** SQLSTATEs of decrypt_setting: with another key than this one; written for another setting. */
const shut = new Set(["39000", "XX001"]);

/** Whether the stack's key opens what is encrypted; nothing else tells before a value is needed. */
async function checkEncryptedSettings(stack: Stack): Promise<Finding[]> {
  const check = "settings";
  try {
    const key = await readCredential(stack.paths, "settings-key");
    const config = await stackConnection(stack, "ctm_migrator");
    return await connected(config, async (client) => {
      const { rows } = await client.query<{ name: string; ciphertext: string }>(
        `SELECT setting_key AS name, setting_value #>> '{}' AS ciphertext
           FROM configuration_settings WHERE is_encrypted ORDER BY 1`,
      );
      const names: string[] = [];
      for (const { name, ciphertext } of rows) {
        try {
          await client.query("SELECT decrypt_setting($1, $2, $3)", [name, ciphertext, key]);
        } catch (error) {
          if (!(error instanceof DatabaseError && shut.has(error.code ?? ""))) throw error;
          names.push(name);
        }
      }
      if (names.length === 0) {
        return [good(check, `${rows.length} encrypted, opened by the stack's key`)];
      }
      return [
        bad(
          check,
          `${credentialPath(stack.paths, "settings-key")} does not open ${names.join(", ")}`,
          "docs/runbooks/lost-settings-key.md",
        ),
      ];
    });
  } catch (error) {
    // No such table or function yet: the schema says so itself.
    if (error instanceof DatabaseError && /^42(P01|883)$/.test(error.code ?? "")) return [];
    if (error instanceof CtmError) return [bad(check, error.message, error.next ?? "run as root")];
    return [bad(check, messageOf(error), "ctm status")];
  }
}

function good(check: string, message: string): Finding {
  return { check, ok: true, message, next: null };
}

function bad(check: string, message: string, next: string): Finding {
  return {
    check,
    ok: false,
    message,
    next: isRoot() || next !== "run as root" ? next : "sudo ctm doctor",
  };
}
