import { createHash } from "node:crypto";
import type { FindingDocument } from "./document.ts";

/** GitLab wants a file for everything; this one stands for what has none. */
const somewhere = "database";

/**
 * GitLab's code quality report, which a merge request shows at the lines:
 * https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
 */
export function gitlabCodeQuality(findings: readonly FindingDocument[]): string {
  const seen = new Map<string, number>();
  const issues = findings.map(({ check, file, line, message, next }) => {
    // Lines move from one revision to the next, and the finding stays the same one.
    const identity = JSON.stringify([check, file, message]);
    const count = seen.get(identity) ?? 0;
    seen.set(identity, count + 1);
    return {
      description: `${message}${next === null ? "" : `; next: ${next}`}`,
      check_name: `ctm-check-${check}`,
      fingerprint: createHash("sha256").update(`${identity}${count}`).digest("hex"),
      severity: "major",
      location: { path: file ?? somewhere, lines: { begin: line ?? 1 } },
    };
  });
  return `${JSON.stringify(issues, undefined, 2)}\n`;
}
