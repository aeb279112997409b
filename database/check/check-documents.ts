import type { Client } from "pg";
import { readFileIfExists } from "#system";
import { accessDocument, accessDocumentPath } from "../access-document.ts";
import { readSchema } from "../catalog/read-schema.ts";
import { schemaDocument, schemaDocumentPath } from "../catalog/schema-document.ts";
import type { AccessResult } from "../pgtap-runner/src/index.ts";
import { rolesSql, rolesSqlPath } from "../roles-sql.ts";
import { relativeToCheckout, type CheckFinding } from "./finding.ts";

/** A file that is generated, and what it should be. */
interface Generated {
  path: string;
  wanted: string;
  command: string;
}

export function rolesFile(): Generated {
  return { path: rolesSqlPath, wanted: rolesSql(), command: "node database/roles-sql.ts" };
}

export async function schemaFile(client: Client): Promise<Generated> {
  return {
    path: schemaDocumentPath,
    wanted: schemaDocument(await readSchema(client)),
    command: "node database/catalog/schema-document.ts",
  };
}

export function accessFile(result: AccessResult): Generated {
  return {
    path: accessDocumentPath,
    wanted: accessDocument(result),
    command: "node database/access-document.ts",
  };
}

/** The files that are not what they would be if they were made now. */
export async function staleFindings(files: readonly Generated[]): Promise<CheckFinding[]> {
  const findings: CheckFinding[] = [];
  for (const { path, wanted, command } of files) {
    const file = relativeToCheckout(path);
    const text = await readFileIfExists(path);
    const finding = { check: "documents", file, next: `${command}, and commit it` } as const;
    if (text === undefined) {
      findings.push({ ...finding, line: null, message: `${file} is not there`, detail: null });
    } else if (text !== wanted) {
      const { line, detail } = firstDifference(text, wanted);
      const message = `${file} is stale: from line ${line} on it is not what would be generated now`;
      findings.push({ ...finding, line, message, detail });
    }
  }
  return findings;
}

function firstDifference(text: string, wanted: string): { line: number; detail: string } {
  const old = text.split("\n");
  const made = wanted.split("\n");
  const index = made.findIndex((line, number) => line !== old[number]);
  const at = index < 0 ? made.length : index;
  return {
    line: at + 1,
    detail: excerpts(old[at] ?? "(the end)", made[at] ?? "(the end)").join("\n"),
  };
}

/** Both lines from shortly before where they differ: rows of a table can be long. */
function excerpts(old: string, made: string): string[] {
  let differs = 0;
  while (differs < old.length && old[differs] === made[differs]) differs += 1;
  const start = Math.max(0, differs - 40);
  const cut = (line: string): string =>
    `${start === 0 ? "" : "…"}${line.slice(start, start + 120)}${line.length > start + 120 ? "…" : ""}`;
  return [`- ${cut(old)}`, `+ ${cut(made)}`];
}
