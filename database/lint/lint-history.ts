import { join } from "node:path";
import { CtmError, run } from "#system";
import { compareVersions, databaseFolder } from "../runner/migration-files.ts";
import type { LintFinding } from "./finding.ts";

/** Branches that hold what may be applied somewhere, the likeliest first. */
const sharedBranches = ["origin/HEAD", "origin/main", "origin/master"];

type Git = (...args: string[]) => Promise<string | undefined>;

/** What became of the migrations since a revision. */
export interface HistoryLint {
  /** The commit that was compared with. */
  base: string;
  findings: LintFinding[];
}

/**
 * Finds numbered migrations that were changed, renamed or deleted after others could have applied
 * them, and new ones that would come before those, without a database: by comparing with the
 * revision where this work left the shared branch.
 *
 * @param options.base the revision to compare with; by default the merge base with the remote's
 *   main branch, or HEAD where there is no remote
 * @returns null outside of a git checkout, and in one without a commit
 * @throws CtmError `history-unknown` when the revision to compare with is not in this clone
 */
export async function lintHistory(
  options: { folder?: string; base?: string } = {},
): Promise<HistoryLint | null> {
  const folder = join(options.folder ?? databaseFolder, "migrations");
  const git: Git = async (...args) => {
    const finished = await run("git", ["-C", folder, ...args], { accept: [0, 1, 128] });
    return finished.code === 0 ? finished.stdout : undefined;
  };
  if ((await git("rev-parse", "--verify", "HEAD^{commit}")) === undefined) return null;
  const base = await findBase(git, options.base);
  const changes = await git("diff", "--name-status", "--no-renames", "--relative", base, "--", ".");
  if (changes === undefined) return null;
  const newest = await newestVersion(git, base);
  const findings: LintFinding[] = [];
  for (const [status, name] of [...changedFiles(changes), ...(await newFiles(git))]) {
    const version = /^(\d+)_.*\.sql$/.exec(name)?.[1];
    if (version === undefined) continue;
    const at = { file: join(folder, name), tool: "git", level: "error", object: null } as const;
    if (status === "A" && newest !== undefined && compareVersions(version, newest) < 0) {
      findings.push({
        ...at,
        rule: "migration-out-of-order",
        line: 1,
        message: `${name} comes before ${newest}, which was there at ${shown(base)} and may be applied already`,
        help: "give it the next free number",
      });
    }
    if (status !== "M" && status !== "D") continue;
    const hunks = await git("diff", "--unified=0", "--relative", base, "--", name);
    // "@@ -12,2 +12,3 @@": the first line of the new text that differs.
    const line = /^@@ -\S+ \+(\d+)/m.exec(hunks ?? "")?.[1];
    findings.push({
      ...at,
      rule: status === "M" ? "migration-edited" : "migration-removed",
      line: status === "M" && line !== undefined ? Math.max(1, Number(line)) : null,
      message: `${name} ${status === "M" ? "is not what it was" : "was there"} at ${shown(base)}, where others may have applied it`,
      help: "restore it, and make the change in a new file: ctm migrate new NAME",
    });
  }
  return { base, findings };
}

function shown(base: string): string {
  return base.slice(0, 12);
}

/** Status letter and name of each file that git names. */
function changedFiles(changes: string): [string, string][] {
  return changes.split("\n").map((change) => {
    const [status = "", name = ""] = change.split("\t");
    return [status, name];
  });
}

/** Files that git does not know yet: a diff does not show them. */
async function newFiles(git: Git): Promise<[string, string][]> {
  const names = (await git("ls-files", "--others", "--exclude-standard")) ?? "";
  return names.split("\n").map((name) => ["A", name]);
}

/** The highest number of a migration at a revision. */
async function newestVersion(git: Git, base: string): Promise<string | undefined> {
  const names = (await git("ls-tree", "--name-only", base, "--", ".")) ?? "";
  return names
    .split("\n")
    .map((name) => /^(\d+)_.*\.sql$/.exec(name)?.[1])
    .filter((version) => version !== undefined)
    .toSorted(compareVersions)
    .at(-1);
}

async function findBase(git: Git, given: string | undefined): Promise<string> {
  // Services of CI name the revision before a branch's first one so.
  const named = given === undefined || /^0*$/.test(given) ? undefined : given;
  const candidates = named === undefined ? sharedBranches : [named];
  for (const candidate of candidates) {
    const base = await git("merge-base", "HEAD", candidate);
    if (base !== undefined) return base.trim();
  }
  const remotes = ((await git("remote")) ?? "").trim();
  if (named === undefined && remotes === "") return "HEAD";
  throw new CtmError(
    "history-unknown",
    named === undefined
      ? `this clone has none of ${sharedBranches.join(", ")}, so it cannot be told which migrations others may have applied`
      : `this clone has no history that leads from HEAD to ${named}`,
    { next: "fetch the whole history (git fetch --unshallow origin main), or name a revision" },
  );
}
