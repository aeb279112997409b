import { globSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { RunnerError, isMissing } from "../errors.ts";

export const defaultExtensions: readonly string[] = [".sql", ".pg"];

/**
 * The test files that files, directories and globs stand for, each once: what was named in the
 * order in which it was named, what was found in the order of its path.
 *
 * @throws RunnerError `no-files` (exit code 2) naming the pattern that stands for none
 */
export function findFiles(
  patterns: readonly string[],
  workingDirectory: string,
  extensions: readonly string[] = defaultExtensions,
): string[] {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const files = filesOf(pattern, workingDirectory, extensions);
    if (files.length === 0) {
      throw new RunnerError("no-files", `${pattern} stands for no test file`, {
        exitCode: 2,
        next: `name files, directories with files ending in ${extensions.join(" or ")}, or quoted globs`,
      });
    }
    for (const file of files) found.add(file);
  }
  return [...found];
}

function filesOf(
  pattern: string,
  workingDirectory: string,
  extensions: readonly string[],
): string[] {
  const absolute = resolve(workingDirectory, pattern);
  try {
    if (!statSync(absolute).isDirectory()) return [pattern];
    return readdirSync(absolute, { recursive: true, withFileTypes: true })
      .filter(
        (entry) => !entry.isDirectory() && extensions.some((ending) => entry.name.endsWith(ending)),
      )
      .map((entry) => join(pattern, join(entry.parentPath, entry.name).slice(absolute.length + 1)))
      .toSorted();
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return globSync(pattern, { cwd: workingDirectory })
    .filter((path) => statSync(resolve(workingDirectory, path)).isFile())
    .toSorted();
}

/**
 * One of several equal parts of the files, for machines that share the work: every file is in
 * exactly one, and neighbours, which often take equally long, are in different ones.
 *
 * @throws RunnerError `empty-shard` (exit code 2): a machine that ran nothing must not be green
 */
export function shardOf(
  files: readonly string[],
  shard: { index: number; total: number },
): string[] {
  const part = files.filter((_, position) => position % shard.total === shard.index - 1);
  if (part.length === 0) {
    throw new RunnerError(
      "empty-shard",
      `shard ${shard.index}/${shard.total} has no file: there are only ${files.length}`,
      { exitCode: 2, next: `use at most ${files.length} shards` },
    );
  }
  return part;
}
