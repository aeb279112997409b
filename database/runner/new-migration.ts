import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CtmError, systemErrorCode } from "#system";
import { databaseFolder, migrationFiles, type MigrationFile } from "./migration-files.ts";

/**
 * Writes an empty migration with the next number.
 *
 * @param title what it does: words in any writing; they become the file's name
 * @param options.transactional false for the one statement that refuses a transaction
 * @throws CtmError `bad-migration-title` when no letter or digit is in it, `file-exists`
 */
export async function newMigration(
  title: string,
  options: { folder?: string; transactional?: boolean } = {},
): Promise<{ path: string; version: string }> {
  const { folder = databaseFolder, transactional = true } = options;
  const words = title
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .replaceAll(/^_+|_+$/g, "");
  if (words === "") {
    throw new CtmError("bad-migration-title", `"${title}" has no letter or digit for a file name`, {
      next: "say what it does: ctm migrate new add_due_date_to_tasks",
      exitCode: 2,
    });
  }
  const version = nextVersion(await migrationFiles(folder));
  const path = join(folder, "migrations", `${version}_${words}.sql`);
  await mkdir(join(folder, "migrations"), { recursive: true });
  try {
    await writeFile(path, transactional ? inTransaction : alone, { flag: "wx" });
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
    throw new CtmError("file-exists", `${path} exists already`, { next: "run it again" });
  }
  return { path, version };
}

function nextVersion(files: readonly MigrationFile[]): string {
  const last = files.reduce((most, file) => Math.max(most, Number(file.version ?? 0)), 0);
  return String(last + 1).padStart(3, "0");
}

const inTransaction = `-- Why: \n-- Locks: \n\n`;
const alone = `-- ctm: no-transaction\n${inTransaction}`;
