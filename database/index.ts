// What is in the database: its migrations and everything that applies, shows and checks them.
export type { DatabaseConnection } from "./runner/connect.ts";
export type { AppliedMigration } from "./runner/ledger.ts";
export {
  migrateUp,
  type AppliedFile,
  type MigrateUpOptions,
  type MigrateUpResult,
} from "./runner/migrate-up.ts";
export { migrationFiles, type MigrationFile } from "./runner/migration-files.ts";
export type { EditedMigration } from "./runner/migration-state.ts";
export { migrationStatus, type MigrationStatus } from "./runner/migration-status.ts";
export { describeProgress, type MigrationProgress } from "./runner/progress.ts";
