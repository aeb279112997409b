import { createRequire } from "node:module";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { RunnerError } from "../errors.ts";
import { Script } from "../psql/script.ts";
import type { Statement } from "../psql/statement.ts";
import { Source } from "../psql/source.ts";
import type { ConnectionSettings } from "../server/connection-settings.ts";
import { Session } from "../server/session.ts";
import type { Clones } from "./clones.ts";

export interface Preparation {
  /** SQL files to run on the template. */
  load: readonly string[];
  /** Load our own assertions. */
  assertions: boolean;
  /** Where pgTAP's SQL is, for a database that has no pgTAP. */
  pgtap: string | undefined;
  workingDirectory: string;
}

export interface Prepared {
  clones: Clones;
  /** Statements of tests that have nothing left to do. */
  skip: ((statement: Statement) => boolean) | undefined;
}

const createPgtap = /^create\s+extension\s+(?:if\s+not\s+exists\s+)?"?pgtap"?(?![\w$])/i;

/** The SQL file that defines the assertions pgTAP lacks. */
export const assertionsFile = fileURLToPath(new URL("../../sql/assertions.sql", import.meta.url));

/**
 * Adds to a copy of the tested database what was asked for, and makes that copy the template.
 * Without such wishes the database itself stays the template, which saves making that copy.
 *
 * @throws RunnerError `load-failed` with file, line and the server's words
 */
export async function prepareTemplate(
  clones: Clones,
  settings: ConnectionSettings,
  preparation: Preparation,
): Promise<Prepared> {
  const { load, assertions, pgtap, workingDirectory } = preparation;
  if (load.length === 0 && !assertions && pgtap === undefined) return { clones, skip: undefined };
  const template = await clones.create();
  const session = await Session.connect(settings, template, "pgtap-runner");
  let pgtapLoaded = false;
  try {
    if (pgtap !== undefined && !(await hasPgtap(session))) {
      await runSql(session, findPgtap(pgtap, workingDirectory), workingDirectory);
      pgtapLoaded = true;
    }
    for (const path of load)
      await runSql(session, resolve(workingDirectory, path), workingDirectory);
    if (assertions) {
      // They stand on pgTAP's functions, which the tests may mean to create themselves.
      if (!(await hasPgtap(session))) {
        await session.rows("CREATE EXTENSION pgtap");
        pgtapLoaded = true;
      }
      await runSql(session, assertionsFile, workingDirectory);
    }
  } finally {
    await session.close();
  }
  return {
    clones: clones.derive(template),
    skip: pgtapLoaded ? (statement) => createPgtap.test(statement.sql) : undefined,
  };
}

async function hasPgtap(session: Session): Promise<boolean> {
  const [row] = await session.rows(
    "SELECT FROM pg_proc WHERE proname = 'no_plan' AND pronargs = 0",
  );
  return row !== undefined;
}

async function runSql(session: Session, path: string, workingDirectory: string): Promise<void> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new RunnerError("load-failed", `${path} cannot be read`, { exitCode: 2, cause: error });
  }
  // The SQL of an extension begins by refusing to be read by psql.
  const source = new Source(path, text.replace(/^\\echo Use .*\\quit\s*$/m, ""));
  const script = new Script(
    session,
    {
      onText: () => undefined,
      onWarning: () => undefined,
      onNotice: () => undefined,
      onTolerated: () => undefined,
      onStatement: () => undefined,
    },
    { workingDirectory },
  );
  const error = await script.run(source, dirname(path));
  if (error === undefined) return;
  const place = error.location ?? { file: path, line: 1 };
  throw new RunnerError("load-failed", `${place.file}:${place.line}: ${error.message}`);
}

/** The file of pgTAP's functions, from a file, a directory or an installed package. */
function findPgtap(named: string, workingDirectory: string): string {
  const path = resolve(workingDirectory, named);
  if (existsSync(path)) {
    if (!statSync(path).isDirectory()) return path;
    const found = findPgtapIn(path);
    if (found !== undefined) return found;
  } else {
    try {
      const require = createRequire(join(workingDirectory, "package.json"));
      const found = findPgtapIn(dirname(require.resolve(`${named}/package.json`)));
      if (found !== undefined) return found;
    } catch {
      // Not a package either.
    }
  }
  throw new RunnerError(
    "pgtap-missing",
    `${named} is no file, directory or package with pgTAP's SQL`,
    {
      exitCode: 2,
      next: "name the file pgtap.sql of a pgTAP release, or its directory",
    },
  );
}

function findPgtapIn(directory: string): string | undefined {
  for (const path of [directory, join(directory, "sql"), join(directory, "extension")]) {
    if (!existsSync(path)) continue;
    const names = readdirSync(path);
    // `pgtap--1.3.0.sql`; `pgtap--1.2.0--1.3.0.sql` only upgrades.
    const versions = names
      .map((name) => /^pgtap--(\d+(?:\.\d+)*)\.sql$/.exec(name)?.[1])
      .filter((version) => version !== undefined)
      .toSorted((a, b) => b.localeCompare(a, "en", { numeric: true }));
    if (versions[0] !== undefined) return join(path, `pgtap--${versions[0]}.sql`);
    if (names.includes("pgtap.sql")) return join(path, "pgtap.sql");
  }
  return undefined;
}
