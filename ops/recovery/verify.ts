import { createHash } from "node:crypto";
import type { Descriptor } from "#stack";
import { CtmError, runAs } from "#system";
import type { Context } from "../command.ts";
import { backrestFailure, readRepository } from "../facts/repository.ts";
import { createShell } from "../shell.ts";
import { configurationOf, type RepositoryDescriptor } from "./archive.ts";

/** A file that is not what it was when it was stored. */
export interface Damage {
  repository: string;
  /** Path in the repository, or as pgBackRest names a file inside a bundle. */
  file: string;
  /** pgBackRest's words, or ours for what it does not look at. */
  what: string;
  /** Backup that it belongs to; null for WAL and info files. */
  backup: string | null;
}

/** What was read. */
export interface Verification {
  repository: string;
  walFiles: number;
  backups: { label: string; files: number }[];
  damages: Damage[];
}

const dayMs = 24 * 3_600_000;

/**
 * Reads every file of a repository: those of all kept backups and all WAL by pgBackRest, which
 * compares them with the checksums of their manifests and names; and the files that pgBackRest
 * keeps twice, of which it reads the other one when one is damaged and says nothing.
 *
 * pgBackRest's verify exits 0 whatever it finds (2.45): its report is read.
 *
 * @throws CtmError `verify-failed`, `no-permission`, `repository-unreadable`
 */
export async function verifyRepository(
  descriptor: Descriptor,
  repository: RepositoryDescriptor,
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<Verification> {
  const configuration = configurationOf(descriptor, repository);
  const { stanza } = descriptor.backup;
  const shell = createShell(context, await runAs(descriptor.users.postgres));
  const options = [`--config=${configuration}`, `--stanza=${stanza}`, "--log-level-stderr=off"];
  const { name } = repository;
  const { backups } = await readRepository(descriptor, context, 120_000, configuration);
  context.progress.step(`reading every file of repository ${name}`);
  const finished = await shell({
    timeout: dayMs,
  })`pgbackrest ${options} --log-level-console=info --log-timestamp=n verify --output=text --verbose`;
  if (!finished.ok) {
    throw new CtmError("verify-failed", `repository ${name}: ${backrestFailure(finished)}`, {
      next: "ctm doctor",
    });
  }
  const report = parseVerify(finished.stdout, name);

  const damages = [...report.damages];
  const read = async (path: string): Promise<string | undefined> => {
    const found = await shell`pgbackrest ${options} --log-level-console=off repo-get ${path}`;
    return found.ok ? found.stdout : undefined;
  };
  const pairs = [
    { path: `archive/${stanza}/archive.info`, backup: null },
    { path: `backup/${stanza}/backup.info`, backup: null },
    ...backups.map(({ label }) => ({
      path: `backup/${stanza}/${label}/backup.manifest`,
      backup: label,
    })),
  ];
  for (const { path, backup } of pairs) {
    const texts = await Promise.all([read(path), read(`${path}.copy`)]);
    for (const [index, text] of texts.entries()) {
      const file = index === 0 ? path : `${path}.copy`;
      const what = text === undefined ? "cannot be read" : checksumFault(text);
      if (what !== undefined) damages.push({ repository: name, file, what, backup });
    }
  }
  // What is listed and was not looked at is no evidence of anything.
  const seen = new Set(report.backups.map(({ label }) => label));
  for (const { label } of backups) {
    if (seen.has(label)) continue;
    damages.push({ repository: name, file: label, what: "was not verified", backup: label });
  }
  return { repository: name, ...report, damages };
}

/** What pgBackRest 2.45 reports (src/command/verify/verify.c). */
export function parseVerify(output: string, repository: string): Omit<Verification, "repository"> {
  const damages: Damage[] = [];
  for (const line of output.split("\n")) {
    const [, what, quoted, plain] =
      /INFO: (invalid checksum|invalid size|file missing|invalid result) (?:'([^']+)'|([^:]+): )/.exec(
        line,
      ) ?? [];
    const file = quoted ?? plain;
    if (what === undefined || file === undefined) continue;
    const backup = /^(\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?)\//.exec(file)?.[1] ?? null;
    damages.push({ repository, file, what, backup });
  }
  // The report stands twice: as a log line and as the output.
  const summary = output.slice(output.lastIndexOf("\nstanza: "));
  const backups: Verification["backups"] = [];
  for (const [, label = "", status, files = "0"] of summary.matchAll(
    /^ *backup: (\S+), status: (.+?), total files checked: (\d+)/gm,
  )) {
    backups.push({ label, files: Number(files) });
    if (status === "valid" || damages.some(({ backup }) => backup === label)) continue;
    damages.push({ repository, file: label, what: `is ${status}`, backup: label });
  }
  let walFiles = 0;
  for (const [, id = "", total, valid] of summary.matchAll(
    /^ *archiveId: (\S+), total WAL checked: (\d+), total valid WAL: (\d+)/gm,
  )) {
    walFiles += Number(total);
    const named = damages.filter(({ file }) => file.startsWith(`${id}/`)).length;
    const invalid = Number(total) - Number(valid);
    if (invalid <= named) continue;
    const what = `${invalid - named} of ${total} WAL files are invalid`;
    damages.push({ repository, file: id, what, backup: null });
  }
  return { walFiles, backups, damages };
}

/** Whether an info file or manifest is still whole: its last section is a checksum of the others. */
export function checksumFault(text: string): string | undefined {
  const stored = /^backrest-checksum="([0-9a-f]{40})"$/m.exec(text)?.[1];
  if (stored === undefined) return "has lost its checksum";
  return stored === infoChecksum(text) ? undefined : "does not match its checksum";
}

/** The checksum of an info file or manifest: SHA-1 of its sections as JSON (src/info/info.c). */
function infoChecksum(text: string): string {
  const sections: string[] = [];
  let pairs: string[] = [];
  let section = "";
  const close = (): void => {
    if (pairs.length > 0) sections.push(`${JSON.stringify(section)}:{${pairs.join(",")}}`);
    pairs = [];
  };
  for (const line of text.split("\n")) {
    const [, name] = /^\[([^=]+)\]$/.exec(line) ?? [];
    if (name !== undefined) {
      close();
      section = name;
      continue;
    }
    // A file's name may hold the sign; what follows the right one is JSON.
    const [, key, value] = /^(.+?)=(["{[\dtfn-].*)$/.exec(line) ?? [];
    if (key === undefined || key === "backrest-checksum") continue;
    pairs.push(`${JSON.stringify(key)}:${value}`);
  }
  close();
  return createHash("sha1")
    .update(`{${sections.join(",")}}`)
    .digest("hex");
}
