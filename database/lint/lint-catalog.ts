import type { Client } from "pg";
import type { ParsedMigration } from "../runner/migration-files.ts";
import { catalogRules, catalogRuleViews } from "./catalog-rules.ts";
import { lintExceptions } from "./exceptions.ts";
import type { LintException, LintFinding } from "./finding.ts";
import { placeOf } from "./place-of.ts";

/**
 * Looks at a schema itself for what no linter of text can see: grants, row security, definer's
 * rights, indexes of foreign keys.
 *
 * @param options.files where the objects come from, so that findings name file and line
 * @param options.exceptions accepted findings; this project's own by default
 */
export async function lintCatalog(
  client: Client,
  options: {
    files?: readonly ParsedMigration[];
    exceptions?: readonly LintException[];
  } = {},
): Promise<LintFinding[]> {
  const { files = [], exceptions = lintExceptions } = options;
  const findings: LintFinding[] = [];
  const unused = new Set(exceptions);
  await client.query("BEGIN READ ONLY");
  try {
    await client.query("SET LOCAL search_path = pg_catalog");
    const version = await client.query<{ version: number }>(
      "SELECT current_setting('server_version_num')::integer AS version",
    );
    for (const rule of catalogRules) {
      if (rule.since !== undefined && (version.rows[0]?.version ?? 0) < rule.since) {
        for (const exception of unused) if (exception.rule === rule.name) unused.delete(exception);
        continue;
      }
      const { rows } = await client.query<{ object: string }>(
        `${catalogRuleViews} ${rule.sql} ORDER BY object`,
      );
      for (const { object } of rows) {
        const exception = exceptions.find(
          (candidate) => candidate.rule === rule.name && matches(candidate.object, object),
        );
        if (exception !== undefined) {
          unused.delete(exception);
          continue;
        }
        findings.push({
          tool: "catalog",
          rule: rule.name,
          level: rule.level,
          object,
          ...placeOf(object, files),
          message: `${object} ${rule.message}`,
          help: rule.help,
        });
      }
    }
  } finally {
    await client.query("ROLLBACK");
  }
  for (const { rule, object } of unused) {
    findings.push({
      tool: "catalog",
      rule: "unused-exception",
      level: "warning",
      object,
      file: null,
      line: null,
      message: `the exception of ${object} from ${rule} is not needed`,
      help: "remove it from database/lint/exceptions.ts",
    });
  }
  return findings;
}

function matches(pattern: string, object: string): boolean {
  const escaped = pattern
    .replace(/[.+?^${}()|[\]\\]/g, String.raw`\$&`)
    .replaceAll("*", String.raw`\w*`);
  return new RegExp(`^${escaped}$`).test(object);
}
