import { z } from "zod";
import type { MigrationPlan } from "#database";
import { differenceDocument, findingDocument, findingOf } from "./document.ts";

const relation = {
  relation: z.string(),
  rows: z.number().nullable(),
  bytes: z.number().nullable(),
};

export const planDocument = z.strictObject({
  schema_version: z.string().nullable(),
  tried_on: z.enum(["data", "schema", "nothing"]),
  tried_on_reason: z.string().nullable(),
  files: z.array(
    z.strictObject({
      version: z.string().nullable(),
      name: z.string(),
      path: z.string(),
      transactional: z.boolean(),
      statements: z.array(
        z.strictObject({
          sql: z.string(),
          line: z.int(),
          locks: z.array(z.strictObject({ ...relation, mode: z.string(), blocks: z.string() })),
          rewrites: z.array(z.strictObject(relation)),
          scans: z.array(z.strictObject(relation)),
          duration_ms: z.int(),
        }),
      ),
    }),
  ),
  findings: z.array(findingDocument),
  changes: z.array(differenceDocument),
  failure: z
    .strictObject({ code: z.string(), message: z.string(), next: z.string().nullable() })
    .nullable(),
});

export type PlanDocument = z.infer<typeof planDocument>;

export function planOf(plan: MigrationPlan): PlanDocument {
  return {
    schema_version: plan.schemaVersion,
    tried_on: plan.triedOn,
    tried_on_reason: plan.triedOnReason,
    files: plan.files.map(({ version, name, path, transactional, statements }) => ({
      version,
      name,
      path,
      transactional,
      statements: statements.map(({ sql, line, locks, rewrites, scans, durationMs }) => ({
        sql,
        line,
        locks,
        rewrites,
        scans,
        duration_ms: durationMs,
      })),
    })),
    findings: plan.findings.map(findingOf),
    changes: plan.changes,
    failure:
      plan.failure === null
        ? null
        : {
            code: plan.failure.code,
            message: plan.failure.message,
            next: plan.failure.next ?? null,
          },
  };
}
