// What is in the database: its roles, its migrations, and everything that applies, shows and checks
// them.
export {
  compareCatalogs,
  describeDifference,
  type CatalogDifference,
} from "./catalog/compare-catalogs.ts";
export { readCatalog, type CatalogObject } from "./catalog/read-catalog.ts";
export { readSchema, type Schema } from "./catalog/read-schema.ts";
export {
  currentSchemaDocument,
  schemaDocument,
  schemaDocumentPath,
} from "./catalog/schema-document.ts";
export { checkDatabase, type CheckOutcome, type CheckReport } from "./check/check-database.ts";
export { checkNames, type CheckFinding } from "./check/finding.ts";
export { describeFinding, type LintFinding } from "./lint/finding.ts";
export { lintCatalog } from "./lint/lint-catalog.ts";
export { lintHistory } from "./lint/lint-history.ts";
export { lintText } from "./lint/lint-text.ts";
export {
  backupFunctions,
  databaseName,
  databasePrivileges,
  extensions,
  keyLookupRole,
  ownerRole,
  roles,
  schemaName,
  schemaPrivileges,
  type DatabaseRole,
  type RolePrivileges,
} from "./roles.ts";
export { connect, disconnect, type DatabaseConnection } from "./runner/connect.ts";
export { embeddedServer, embeddedVersions } from "./runner/embedded-server.ts";
export { makeFreshDatabase } from "./runner/fresh-database.ts";
export type { AppliedMigration } from "./runner/ledger.ts";
export { migrateUp, type MigrateUpOptions, type MigrateUpResult } from "./runner/migrate-up.ts";
export { migrationFiles, readMigrations, type MigrationFile } from "./runner/migration-files.ts";
export type { EditedMigration } from "./runner/migration-state.ts";
export { migrationStatus, type MigrationStatus } from "./runner/migration-status.ts";
export { newMigration } from "./runner/new-migration.ts";
export { planMigrations, type MigrationPlan } from "./runner/plan.ts";
export { describeProgress, type MigrationProgress } from "./runner/progress.ts";
export { repositoryRevision } from "./runner/repository-revision.ts";
export { findBinaries, startScratchServer, type ScratchServer } from "./runner/scratch-server.ts";
export { isVerified, verifyMigrations, type MigrationVerification } from "./runner/verify.ts";
