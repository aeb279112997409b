import { join } from "node:path";
import { DatabaseError } from "pg";
import { readFileIfExists } from "#system";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { databaseFolder, type ParsedMigration } from "./migration-files.ts";
import { runMigrations } from "./migrate-up.ts";
import type { ScratchServer } from "./scratch-server.ts";
import { SqlFileError } from "./sql-file-error.ts";

/**
 * Makes a database on a scratch server as the files describe it: roles and extensions of the
 * folder's `roles.sql`, then the migrations.
 *
 * @param options.folder holds `roles.sql`, `migrations/` and `repeatable/`; this project's own by
 *   default
 * @param options.select which files to apply; all by default
 * @throws CtmError `roles-failed`, and those of `migrateUp`
 * @returns the connection with which migrations are applied: as the schema's owner where there
 *   are roles
 */
export async function makeFreshDatabase(
  server: ScratchServer,
  name: string,
  options: { folder?: string; select?: (file: ParsedMigration) => boolean } = {},
): Promise<DatabaseConnection> {
  const { folder = databaseFolder, select } = options;
  const roles = await readFileIfExists(join(folder, "roles.sql"));
  const admin = await connect(server.connection, "ctm scratch");
  try {
    await admin.query(`CREATE DATABASE ${admin.escapeIdentifier(name)}`);
  } finally {
    await disconnect(admin);
  }
  const connection: DatabaseConnection = {
    ...server.database(name),
    ...(roles === undefined ? {} : { role: "ctm_owner" }),
  };
  if (roles !== undefined) {
    const owner = await connect(server.database(name), "ctm scratch");
    try {
      await owner.query(roles);
    } catch (error) {
      throw rolesFailed(join(folder, "roles.sql"), roles, error);
    } finally {
      await disconnect(owner);
    }
  }
  await runMigrations(connection, { folder }, select);
  return connection;
}

/** The whole file is one query, so the server's position is one in the file. */
function rolesFailed(file: string, text: string, error: unknown): unknown {
  if (!(error instanceof DatabaseError)) return error;
  const { message: what, position } = error;
  const line = position === undefined ? null : text.slice(0, Number(position)).split("\n").length;
  return new SqlFileError(
    "roles-failed",
    { file, line, what },
    { next: "mend database/roles.ts, then node database/roles-sql.ts", cause: error },
  );
}
