import { CtmError } from "#system";
import type { AppliedMigration, Ledger } from "./ledger.ts";
import { compareVersions, type MigrationFile } from "./migration-files.ts";

/** An applied file whose text is not what was applied. */
export interface EditedMigration {
  version: string;
  name: string;
  path: string;
  appliedChecksum: string;
  fileChecksum: string;
  appliedAt: string | null;
}

/** The database's ledger held against the files. */
export interface MigrationState<File extends MigrationFile = MigrationFile> {
  /** The newest version that the database has; null when it has none. */
  schemaVersion: string | null;
  /** In order of version. */
  applied: AppliedMigration[];
  /** What `migrateUp` would run, in its order: numbered files, then new or changed repeatables. */
  pending: File[];
  edited: EditedMigration[];
  /** Applied, and no file has that number. */
  missing: AppliedMigration[];
  /** Repeatable files that were applied once and exist no longer. */
  goneRepeatables: string[];
}

export function compareState<File extends MigrationFile>(
  files: readonly File[],
  ledger: Ledger,
): MigrationState<File> {
  const applied = ledger.applied.toSorted((left, right) =>
    compareVersions(left.version, right.version),
  );
  const byVersion = new Map(applied.map((row) => [row.version, row]));
  const byName = new Map(ledger.repeatables.map((row) => [row.name, row]));
  const numbered = files.filter((file) => file.kind === "numbered");
  const repeatable = files.filter((file) => file.kind === "repeatable");
  const versions = new Set(numbered.map((file) => file.version));
  const names = new Set(repeatable.map((file) => file.name));

  const edited = numbered.flatMap((file): EditedMigration[] => {
    const row = byVersion.get(file.version ?? "");
    if (row === undefined || row.adopted || row.checksum === null) return [];
    if (row.checksum === file.sha256) return [];
    return [
      {
        version: row.version,
        name: file.name,
        path: file.path,
        appliedChecksum: row.checksum,
        fileChecksum: file.sha256,
        appliedAt: row.appliedAt,
      },
    ];
  });
  return {
    schemaVersion: applied.at(-1)?.version ?? null,
    applied,
    pending: [
      ...numbered.filter((file) => !byVersion.has(file.version ?? "")),
      ...repeatable.filter((file) => byName.get(file.name)?.checksum !== file.sha256),
    ],
    edited,
    missing: applied.filter((row) => !versions.has(row.version)),
    goneRepeatables: ledger.repeatables.map((row) => row.name).filter((name) => !names.has(name)),
  };
}

/**
 * Refuses to go on from a state in which running the pending files would not give the schema that
 * the files describe.
 *
 * @throws CtmError `migration-edited`, `migration-missing`, `migration-out-of-order`
 */
export function refuseBrokenState(state: MigrationState): void {
  const [edited] = state.edited;
  if (edited !== undefined) {
    const others = state.edited.length - 1;
    throw new CtmError(
      "migration-edited",
      `${edited.path} was changed after it was applied: applied with sha256 ${edited.appliedChecksum}, now ${edited.fileChecksum}${others === 0 ? "" : `; and ${others} more`}`,
      {
        next: `restore the file as it was (git log -p ${edited.path}) and make the change in a new one: ctm migrate new NAME`,
      },
    );
  }
  const [missing] = state.missing;
  if (missing !== undefined) {
    const versions = state.missing.map((row) => row.version).join(", ");
    throw new CtmError(
      "migration-missing",
      `the database has ${versions}${missing.description === null ? "" : ` (${missing.description})`}, for which there is no file here`,
      {
        next:
          missing.gitRevision === null
            ? "update this checkout: the database is newer, or the file was deleted or renumbered"
            : `update this checkout to contain revision ${missing.gitRevision}, which applied it`,
      },
    );
  }
  const late = state.pending.find(
    (file) =>
      file.version !== null &&
      state.schemaVersion !== null &&
      compareVersions(file.version, state.schemaVersion) < 0,
  );
  if (late !== undefined) {
    throw new CtmError(
      "migration-out-of-order",
      `${late.path} is not applied, and the database is already at ${state.schemaVersion}: a fresh database would run them in another order`,
      { next: `rename it to a number after ${state.schemaVersion}` },
    );
  }
}
