import { join } from "node:path";
import { run } from "#system";
import { databaseFolder } from "../runner/migration-files.ts";
import type { LintFinding } from "./finding.ts";

/** Branches that hold what may be applied somewhere, the likeliest first. */
const sharedBranches = ["origin/HEAD", "origin/main", "origin/master"];

/**
 * Finds numbered migrations that were changed, renamed or deleted after others could have applied
 * them, without a database: by comparing with the revision where this work left the shared branch.
 *
 * @param options.base the revision to compare with; by default the merge base with the remote's
 *   main branch, or HEAD where there is none
 * @returns null where there is nothing to compare with: outside a git checkout, or without a commit
 */
export async function lintHistory(
  options: { folder?: string; base?: string } = {},
): Promise<LintFinding[] | null> {
  const folder = join(options.folder ?? databaseFolder, "migrations");
  const git = async (...args: string[]): Promise<string | undefined> => {
    const finished = await run("git", ["-C", folder, ...args], { accept: [0, 1, 128] });
    return finished.code === 0 ? finished.stdout : undefined;
  };
  const base = options.base ?? (await sharedBase(git));
  const changes = await git("diff", "--name-status", "--no-renames", "--relative", base, "--", ".");
  if (changes === undefined) return null;
  const findings: LintFinding[] = [];
  for (const change of changes.split("\n")) {
    const [status = "", name = ""] = change.split("\t");
    if (!/^\d+_.*\.sql$/.test(name) || !["M", "D"].includes(status)) continue;
    const hunks = await git("diff", "--unified=0", "--relative", base, "--", name);
    // "@@ -12,2 +12,3 @@": the first line of the new text that differs.
    const line = /^@@ -\S+ \+(\d+)/m.exec(hunks ?? "")?.[1];
    findings.push({
      tool: "git",
      rule: status === "M" ? "migration-edited" : "migration-removed",
      level: "error",
      object: null,
      file: join(folder, name),
      line: status === "M" && line !== undefined ? Math.max(1, Number(line)) : null,
      message: `${name} ${status === "M" ? "is not what it was" : "was there"} at ${base.slice(0, 12)}, where others may have applied it`,
      help: "restore it, and make the change in a new file: ctm migrate new NAME",
    });
  }
  return findings;
}

async function sharedBase(
  git: (...args: string[]) => Promise<string | undefined>,
): Promise<string> {
  for (const branch of sharedBranches) {
    const base = await git("merge-base", "HEAD", branch);
    if (base !== undefined) return base.trim();
  }
  return "HEAD";
}
