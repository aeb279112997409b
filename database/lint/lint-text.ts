import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { CtmError, run } from "#system";
import type { MigrationFile } from "../runner/migration-files.ts";
import type { LintFinding } from "./finding.ts";

/** The versions whose column types the document prescribes. */
const documented = new Set(["001", "002"]);
/** Advice on column types that the document's own tables cannot take. */
const typeAdvice = new Set(["prefer-text-field", "prefer-bigint-over-int"]);

const answer = z.array(
  z.object({
    file: z.string(),
    /** Counted from 0. */
    line: z.int(),
    level: z.enum(["Error", "Warning"]),
    message: z.string(),
    help: z.string().nullable(),
    rule_name: z.string(),
  }),
);

/**
 * Runs squawk on each file, by the rules of `squawk.toml`: locks that stop readers or writers,
 * rewrites, wrong syntax.
 *
 * @throws CtmError `lint-failed` when squawk itself does not work
 */
export async function lintText(files: readonly MigrationFile[]): Promise<LintFinding[]> {
  const groups = Map.groupBy(files, (file) => file.transactional);
  const findings = await Promise.all(
    [...groups].map(([transactional, group]) => runSquawk(group, transactional)),
  );
  return findings.flat().toSorted(byPlace);
}

async function runSquawk(
  files: readonly MigrationFile[],
  transactional: boolean,
): Promise<LintFinding[]> {
  const versions = new Map(files.map((file) => [file.path, file.version]));
  const manifest = createRequire(import.meta.url).resolve("squawk-cli/package.json");
  const { stdout, stderr } = await run(
    process.execPath,
    [
      join(dirname(manifest), "js/bin/squawk"),
      `--config=${fileURLToPath(new URL("squawk.toml", import.meta.url))}`,
      transactional ? "--assume-in-transaction" : "--no-assume-in-transaction",
      "--reporter=json",
      ...versions.keys(),
    ],
    // 1: there are findings.
    { accept: [0, 1] },
  );
  const parsed = answer.safeParse(json(stdout));
  if (!parsed.success) {
    throw new CtmError("lint-failed", `squawk answered no findings: ${(stderr || stdout).trim()}`, {
      next: "npm ci, so that squawk-cli is installed whole",
    });
  }
  return parsed.data
    .filter(
      ({ file, rule_name: rule }) =>
        !(typeAdvice.has(rule) && documented.has(versions.get(file) ?? "")),
    )
    .map((finding) => ({
      tool: "squawk",
      rule: finding.rule_name,
      level: finding.level === "Error" ? "error" : "warning",
      object: null,
      file: finding.file,
      line: finding.line + 1,
      message: finding.message,
      help: finding.help,
    }));
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function byPlace(left: LintFinding, right: LintFinding): number {
  if (left.file !== right.file) return (left.file ?? "") < (right.file ?? "") ? -1 : 1;
  return (left.line ?? 0) - (right.line ?? 0);
}
