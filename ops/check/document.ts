import { z } from "zod";
import { checkNames } from "#database";

const findingDocument = z.strictObject({
  check: z.enum(checkNames),
  /** Relative to the checkout. */
  file: z.string().nullable(),
  line: z.int().nullable(),
  message: z.string(),
  detail: z.string().nullable(),
  next: z.string().nullable(),
});

export const reportDocument = z.strictObject({
  ok: z.boolean(),
  server: z.string().nullable(),
  duration_ms: z.int(),
  checks: z.array(
    z.strictObject({
      name: z.enum(checkNames),
      outcome: z.enum(["passed", "failed", "skipped"]),
      summary: z.string(),
      duration_ms: z.int(),
    }),
  ),
  findings: z.array(findingDocument),
});

/** What `ctm check` answers, and what its reports are made from. */
export type ReportDocument = z.infer<typeof reportDocument>;
export type FindingDocument = z.infer<typeof findingDocument>;
