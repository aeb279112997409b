import { compareCatalogs, type CatalogDifference } from "../catalog/compare-catalogs.ts";
import { readCatalog } from "../catalog/read-catalog.ts";
import { connect, disconnect, type DatabaseConnection } from "./connect.ts";
import { makeFreshDatabase } from "./fresh-database.ts";
import { readLedger, type AppliedMigration } from "./ledger.ts";
import { compareVersions, readMigrations, type MigrationFile } from "./migration-files.ts";
import { compareState, type EditedMigration } from "./migration-state.ts";
import { findBinaries, startScratchServer } from "./scratch-server.ts";

/** What `verifyMigrations` found. */
export interface MigrationVerification {
  schemaVersion: string | null;
  pending: MigrationFile[];
  edited: EditedMigration[];
  missing: AppliedMigration[];
  /** Where the live catalog is not what the migrations make; null when it could not be compared. */
  drift: CatalogDifference[] | null;
  /** Why there was nothing to compare with; null when there was. */
  driftUnknown: string | null;
}

/**
 * Checks a database against the files: whether each applied file is still what was applied, and
 * whether the catalog is what these files make. For the second, the files are run on a scratch
 * server of the same major version; the database itself is only read.
 *
 * @throws CtmError `postgres-not-installed` when no server of that version is installed here, and
 *   those of `connect` and `migrationFiles`
 */
export async function verifyMigrations(
  connection: DatabaseConnection,
  options: { folder?: string; onProgress?: (text: string) => void } = {},
): Promise<MigrationVerification> {
  const files = await readMigrations(options.folder);
  const client = await connect(connection, "ctm migrate verify");
  try {
    const state = compareState(files, await readLedger(client));
    const { schemaVersion, edited, missing } = state;
    const pending = state.pending.map(
      ({ source: _source, statements: _statements, ...file }): MigrationFile => file,
    );
    const found = { schemaVersion, pending, edited, missing };
    const driftUnknown = whyUnknown(found);
    if (driftUnknown !== null) return { ...found, drift: null, driftUnknown };

    options.onProgress?.("running the migrations on a scratch server");
    const { rows } = await client.query<{ major: string }>(
      "SELECT (current_setting('server_version_num')::integer / 10000)::text AS major",
    );
    const binaries = await findBinaries({ version: Number(rows[0]?.major) });
    const server = await startScratchServer({ binaries });
    try {
      const fresh = await makeFreshDatabase(server, "expected", {
        ...(options.folder === undefined ? {} : { folder: options.folder }),
        select: ({ version }) =>
          version === null || compareVersions(version, schemaVersion ?? "") <= 0,
      });
      options.onProgress?.("comparing the catalogs");
      const expected = await connect(fresh, "ctm migrate verify");
      try {
        const drift = compareCatalogs(await readCatalog(expected), await readCatalog(client));
        return { ...found, drift, driftUnknown: null };
      } finally {
        await disconnect(expected);
      }
    } finally {
      await server.stop();
    }
  } finally {
    await disconnect(client);
  }
}

/** True when everything is as the files say; pending files are no fault. */
export function isVerified(verification: MigrationVerification): boolean {
  const { edited, missing, drift } = verification;
  return edited.length === 0 && missing.length === 0 && drift?.length === 0;
}

function whyUnknown(
  found: Pick<MigrationVerification, "schemaVersion" | "pending" | "missing">,
): string | null {
  if (found.schemaVersion === null) return "no migration is applied yet";
  if (found.missing.length > 0) {
    return `there are no files for ${found.missing.map((row) => row.version).join(", ")}`;
  }
  const changed = found.pending.filter((file) => file.kind === "repeatable");
  if (changed.length === 0) return null;
  return `what ${changed.map((file) => file.name).join(", ")} said when applied is not known any more; apply the pending files first`;
}
