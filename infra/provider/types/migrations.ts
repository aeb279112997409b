import { userInfo } from "node:os";
import { z } from "zod";
import {
  describeProgress,
  migrateUp,
  migrationFiles,
  migrationStatus,
  repositoryRevision,
  type MigrationFile,
  type MigrationStatus,
} from "#database";
import { CtmError } from "#system";
import { loginSettings, provisioningSchema, superuserSettings } from "../../postgres/connection.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  /** Where the server is, and how to look at the ledger whatever became of `user`. */
  provisioning: provisioningSchema,
  database: z.string(),
  /** Who migrates. */
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
  ignoredInDiff: ["provisioning", "user", "password"],
  async create(wanted, { report }) {
    await apply(wanted, report);
    return { id: wanted.database, outputs: wanted };
  },
  async read(_id, state) {
    const found = await statusOf(state);
    if (found === undefined) return undefined;
    const { status, files } = found;
    const pending = new Set(status.pending.map(({ name }) => name));
    const edited = new Map(status.edited.map((one) => [one.name, one.appliedChecksum]));
    const applied = files
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

/** Undefined when there is no such database. */
async function statusOf(
  state: MigrationsInputs,
): Promise<{ status: MigrationStatus; files: MigrationFile[] } | undefined> {
  try {
    const settings = await superuserSettings(state.provisioning, state.database);
    return { status: await migrationStatus(settings), files: await migrationFiles() };
  } catch (error) {
    if (error instanceof CtmError && error.code === "no-such-database") return undefined;
    throw error;
  }
}

async function apply(wanted: MigrationsInputs, report: (line: string) => void): Promise<void> {
  const gitRevision = await repositoryRevision();
  await migrateUp(
    { ...(await loginSettings(wanted.provisioning, wanted)), role: "ctm_owner" },
    {
      actor: `${userInfo().username} (up)`,
      ...(gitRevision === undefined ? {} : { gitRevision }),
      onProgress: (progress) => {
        const line = describeProgress(progress);
        if (line !== undefined) report(line);
      },
    },
  );
}
