import { z } from "zod";
import type { LintFinding, MigrationFile, MigrationStatus } from "#database";

/** Shapes that several migration commands answer with. */
export const fileDocument = z.strictObject({
  version: z.string().nullable(),
  name: z.string(),
  path: z.string(),
  sha256: z.string(),
  transactional: z.boolean(),
});

export const editedDocument = z.strictObject({
  version: z.string(),
  name: z.string(),
  path: z.string(),
  applied_sha256: z.string(),
  file_sha256: z.string(),
  applied_at: z.string().nullable(),
});

export const appliedDocument = z.strictObject({
  version: z.string(),
  description: z.string().nullable(),
  applied_at: z.string().nullable(),
  sha256: z.string().nullable(),
  duration_ms: z.int().nullable(),
  git_revision: z.string().nullable(),
  actor: z.string().nullable(),
  adopted: z.boolean(),
});

export const findingDocument = z.strictObject({
  tool: z.enum(["squawk", "git", "catalog"]),
  rule: z.string(),
  level: z.enum(["error", "warning"]),
  object: z.string().nullable(),
  file: z.string().nullable(),
  line: z.int().nullable(),
  message: z.string(),
  help: z.string().nullable(),
});

export const differenceDocument = z.strictObject({
  kind: z.string(),
  name: z.string(),
  difference: z.enum(["missing", "unexpected", "changed"]),
  expected: z.string().nullable(),
  actual: z.string().nullable(),
});

export function fileOf(file: MigrationFile): z.infer<typeof fileDocument> {
  const { version, name, path, sha256, transactional } = file;
  return { version, name, path, sha256, transactional };
}

export function editedOf(
  edited: MigrationStatus["edited"][number],
): z.infer<typeof editedDocument> {
  return {
    version: edited.version,
    name: edited.name,
    path: edited.path,
    applied_sha256: edited.appliedChecksum,
    file_sha256: edited.fileChecksum,
    applied_at: edited.appliedAt,
  };
}

export function appliedOf(
  applied: MigrationStatus["applied"][number],
): z.infer<typeof appliedDocument> {
  return {
    version: applied.version,
    description: applied.description,
    applied_at: applied.appliedAt,
    sha256: applied.checksum,
    duration_ms: applied.durationMs,
    git_revision: applied.gitRevision,
    actor: applied.actor,
    adopted: applied.adopted,
  };
}

export function findingOf(finding: LintFinding): z.infer<typeof findingDocument> {
  return { ...finding };
}
