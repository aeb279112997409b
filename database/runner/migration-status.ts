import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { readLedger } from "./ledger.ts";
import { migrationFiles } from "./migration-files.ts";
import { compareState, type MigrationState } from "./migration-state.ts";

/** What `migrationStatus` answers. */
export type MigrationStatus = Omit<MigrationState, "goneRepeatables">;

/**
 * Which migrations a database has, which are pending, and which applied ones are no longer what
 * the files say. Reads only; works on a replica. Without a ledger everything is pending.
 *
 * @param options.folder holds `migrations/` and `repeatable/`; this project's own by default
 * @throws CtmError when there is no connection, or a file breaks a rule
 */
export async function migrationStatus(
  connection: DatabaseConnection,
  options: { folder?: string } = {},
): Promise<MigrationStatus> {
  const files = await migrationFiles(options.folder);
  const client = await connect(connection, "ctm migrate status");
  try {
    await client.query("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    const { goneRepeatables: _gone, ...state } = compareState(files, await readLedger(client));
    await client.query("COMMIT");
    return state;
  } finally {
    await disconnect(client);
  }
}
