import { z } from "zod";

/** A hole in the WAL, as the documents of `ctm backup audit` and `ctm status` have it. */
export const gapDocument = z.strictObject({
  repository: z.string(),
  archive: z.string(),
  timeline: z.int(),
  from: z.string(),
  to: z.string(),
  segments: z.int(),
  kind: z.enum(["missing", "duplicate", "history"]),
  backups: z.array(z.string()),
});
