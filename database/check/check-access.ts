import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { placeOf } from "../lint/place-of.ts";
import type { AccessResult } from "../pgtap-runner/src/index.ts";
import type { ParsedMigration } from "../runner/migration-files.ts";
import { relativeToCheckout, type CheckFinding } from "./finding.ts";

const declaration = fileURLToPath(new URL("../access.ts", import.meta.url));

/**
 * What is not as declared: at the line of the declaration that speaks of the object, and for an
 * object that nothing there speaks of, at the migration that made it.
 */
export async function accessFindings(
  { problems, objects }: AccessResult,
  files: readonly ParsedMigration[],
): Promise<CheckFinding[]> {
  const lines = (await readFile(declaration, "utf8")).split("\n");
  const undeclaredObjects = objects.filter((object) => object.declaredAs === undefined);
  // What an object that is not declared gives to whom is no news of its own.
  const news = problems.filter((message) =>
    undeclaredObjects.every(({ name }) => !message.startsWith(`${name}: `)),
  );
  return news.map((message) => {
    const finding = { check: "access", message, detail: null } as const;
    const undeclared = / (\S+) is not declared$/.exec(message)?.[1];
    if (undeclared !== undefined) {
      const { file, line } = placeOf(`public.${undeclared}`, files);
      return {
        ...finding,
        file: file === null ? null : relativeToCheckout(file),
        line,
        next: `say in ${relativeToCheckout(declaration)} who may do what with it; whatever is not named there is denied`,
      };
    }
    // "tasks: reports select: expected all, found none", "tasks is declared, but …"
    const name = /^[^\s:]+/.exec(message)?.[0] ?? "";
    const key = objects.find((object) => object.name === name)?.declaredAs ?? name;
    const index = lines.findIndex((line) =>
      [`${key}:`, `"${key}":`, `"${key}",`].some((start) => line.trimStart().startsWith(start)),
    );
    return {
      ...finding,
      file: relativeToCheckout(declaration),
      line: index < 0 ? null : index + 1,
      next: "mend the grant or the policy, or say here what is right",
    };
  });
}
