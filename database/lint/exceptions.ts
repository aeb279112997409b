import type { LintException } from "./finding.ts";

/** Findings of the catalog lints that are right as they are in this schema. */
export const lintExceptions: readonly LintException[] = [];
