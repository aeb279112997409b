import { isAbsolute, join, relative } from "node:path";
import { databaseFolder } from "../runner/migration-files.ts";

/** The parts of a check, in the order of the report. */
export const checkNames = [
  "history",
  "lint",
  "migrations",
  "catalog",
  "access",
  "pgtap",
  "documents",
] as const;

export type CheckName = (typeof checkNames)[number];

/** One thing that a check found to be wrong. */
export interface CheckFinding {
  check: CheckName;
  /** Relative to the checkout; null when it cannot be told. */
  file: string | null;
  /** Counted from 1. */
  line: number | null;
  message: string;
  /** More about it, such as what was got and wanted: lines. Null when the message says it all. */
  detail: string | null;
  /** What to do; null when the message says it. */
  next: string | null;
}

/** The checkout that this file belongs to. */
export const checkoutFolder = join(databaseFolder, "..");

/** A path as findings name it. */
export function relativeToCheckout(path: string): string {
  return relative(checkoutFolder, isAbsolute(path) ? path : join(checkoutFolder, path));
}
