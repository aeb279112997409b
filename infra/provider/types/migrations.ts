import { execFile } from "node:child_process";
import { userInfo } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { z } from "zod";
import {
  describeProgress,
  migrateUp,
  migrationFiles,
  migrationStatus,
  type DatabaseConnection,
} from "#database";
import { loginSettings } from "../../postgres/connection.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  host: z.string(),
  port: z.int(),
  authority: z.string().startsWith("/"),
  database: z.string(),
  user: z.string(),
  password: z.string(),
  /** SHA-256 of each file by its name: what shall be applied. */
  files: z.record(z.string(), z.string()),
});
export type MigrationsInputs = z.infer<typeof inputs>;

/** The schema, as the migration files say. Deleting it never changes a schema. */
export const migrations = defineResourceType<MigrationsInputs, MigrationsInputs>({
  token: "ctm:database:Migrations",
  inputs,
  secrets: ["password"],
  replacedBy: ["database"],
  ignoredInDiff: ["host", "port", "authority", "user", "password"],
  async create(wanted, { report }) {
    await apply(wanted, report);
    return { id: wanted.database, outputs: wanted };
  },
  async read(_id, state) {
    const status = await migrationStatus(await connectionOf(state));
    const pending = new Set(status.pending.map(({ name }) => name));
    const edited = new Map(status.edited.map((one) => [one.name, one.appliedChecksum]));
    const applied = (await migrationFiles())
      .filter(({ name }) => !pending.has(name))
      .map(({ name, sha256 }): [string, string] => [name, edited.get(name) ?? sha256]);
    const missing = status.missing.map(({ version, checksum }): [string, string] => [
      `${version} (applied, but there is no such file)`,
      checksum ?? "",
    ]);
    return { ...state, files: Object.fromEntries([...applied, ...missing]) };
  },
  async update(_id, _state, wanted, { report }) {
    await apply(wanted, report);
    return wanted;
  },
  async delete() {
    // Migrations go forward only; the data goes with the cluster.
  },
});

async function apply(wanted: MigrationsInputs, report: (line: string) => void): Promise<void> {
  const gitRevision = await revision();
  await migrateUp(await connectionOf(wanted), {
    actor: `${userInfo().username} (up)`,
    ...(gitRevision === undefined ? {} : { gitRevision }),
    onProgress: (progress) => {
      const line = describeProgress(progress);
      if (line !== undefined) report(line);
    },
  });
}

async function connectionOf(target: MigrationsInputs): Promise<DatabaseConnection> {
  return { ...(await loginSettings(target, target)), role: "ctm_owner" };
}

/** The checkout's commit; undefined outside a git checkout. */
async function revision(): Promise<string | undefined> {
  try {
    const cwd = fileURLToPath(new URL("../../..", import.meta.url));
    const { stdout } = await promisify(execFile)("git", ["rev-parse", "HEAD"], { cwd });
    return stdout.trim();
  } catch {
    return undefined;
  }
}
