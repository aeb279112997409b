/**
 * Tries who may do what in a database that the migrations made, and writes down how it came out:
 *
 *   node database/access-document.ts
 */
import { fileURLToPath } from "node:url";
import { writeFileAtomic } from "#system";
import declaration from "./access.ts";
import { accessMarkdown, checkAccess, type AccessResult } from "./pgtap-runner/src/index.ts";
import { makeFreshDatabase } from "./runner/fresh-database.ts";
import {
  findBinaries,
  runnerConnection,
  startScratchServer,
  type ScratchServer,
} from "./runner/scratch-server.ts";

export const accessDocumentPath = fileURLToPath(new URL("../docs/access.md", import.meta.url));

/**
 * The matrix of a database on a scratch server, in a transaction that is rolled back.
 *
 * @param change SQL that is run before, and undone with the rest
 */
export async function checkAccessOf(
  server: ScratchServer,
  database: string,
  change = "",
): Promise<AccessResult> {
  return checkAccess({
    declaration: { ...declaration, setup: `${change};${declaration.setup ?? ""}` },
    // The database is a scratch one, and nobody else is in it.
    isolation: "in-place",
    connection: runnerConnection(server, database),
  });
}

/** The document for a matrix. */
export function accessDocument(result: AccessResult): string {
  const [title = "", ...rest] = accessMarkdown(result).split("\n");
  const note =
    "Tried on a database that the migrations made, each actor on each object with each command: " +
    "`node database/access-document.ts`. What is expected stands in `database/access.ts`. Do not " +
    "edit; a test fails when it is stale.";
  return [title, "", note, ...rest].join("\n");
}

if (import.meta.main) {
  // Older servers know no views with the rights of whoever asks.
  const server = await startScratchServer({ binaries: await findBinaries({ atLeast: 15 }) });
  try {
    await makeFreshDatabase(server, "access");
    const result = await checkAccessOf(server, "access");
    await writeFileAtomic(accessDocumentPath, accessDocument(result), { mode: 0o644 });
    for (const problem of result.problems) process.stderr.write(`${problem}\n`);
    process.exitCode = result.passed ? 0 : 3;
  } finally {
    await server.stop();
  }
}
