import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { checkDeclaration, type AccessDeclaration } from "../access/declaration.ts";
import { checkAccess } from "../access/matrix.ts";
import { accessHtml, accessLines, accessMarkdown } from "../access/render.ts";
import { RunnerError, messageOf } from "../errors.ts";
import { paintLines, wantsColour } from "../report/paint.ts";
import { connectionOptionTypes, readConnection, wrongUsage } from "./options.ts";

const usage = `pgtap-runner rls [options] DECLARATION

Tries every actor on every table, view, materialised view and function with every command, on a copy
of the database, and compares what each reaches with the declaration: a module that exports one by
default (.ts, .mts, .js, .mjs), or a .json file.

  pgtap-runner rls -d app access.ts --html access.html

  --html FILE, --markdown FILE   write the matrix
  --json                         print the result as one JSON document
  --only-wrong                   print only the objects on which something is wrong
  --in-place                     no copy: in the database itself, in a transaction rolled back
  --color, --no-color            (default: colour on a terminal)
  --url, -h, -p, -U, -d, --maintenance-db   where: see pgtap-runner --help

Exit code: 0 everything is as declared; 1 it could not be tried; 2 wrong usage; 3 it is not.
`;

/** Prints the matrix. Returns the exit code. */
export async function rlsCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args);
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const [file, ...others] = positionals;
  if (file === undefined || others.length > 0) {
    throw wrongUsage(`one declaration is wanted, ${positionals.length} were named`);
  }
  const result = await checkAccess({
    declaration: await load(file),
    connection: readConnection(values),
    isolation: values["in-place"] === true ? "in-place" : "clones",
  });
  if (values.html !== undefined) await writeFile(values.html, accessHtml(result));
  if (values.markdown !== undefined) await writeFile(values.markdown, accessMarkdown(result));
  const lines = accessLines(result, { onlyWrong: values["only-wrong"] === true });
  process.stdout.write(
    values.json === true
      ? `${JSON.stringify(result, undefined, 2)}\n`
      : paintLines(lines, wantsColour(values)),
  );
  return result.passed ? 0 : 3;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...connectionOptionTypes,
        html: { type: "string" },
        markdown: { type: "string" },
        json: { type: "boolean" },
        "only-wrong": { type: "boolean" },
        "in-place": { type: "boolean" },
        color: { type: "boolean" },
        "no-color": { type: "boolean" },
        help: { type: "boolean", short: "?" },
      },
      allowPositionals: true,
    });
  } catch (error) {
    throw wrongUsage(messageOf(error));
  }
}

async function load(file: string): Promise<AccessDeclaration> {
  const path = resolve(file);
  let value: unknown;
  try {
    if (path.endsWith(".json")) value = JSON.parse(await readFile(path, "utf8"));
    else {
      const module: unknown = await import(pathToFileURL(path).href);
      if (typeof module === "object" && module !== null && "default" in module) {
        value = module.default;
      }
    }
  } catch (error) {
    throw new RunnerError("bad-declaration", `${file}: ${messageOf(error)}`, {
      exitCode: 2,
      cause: error,
    });
  }
  return checkDeclaration(value);
}
