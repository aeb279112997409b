import { createWriteStream } from "node:fs";
import { parseArgs, type ParseArgsConfig } from "node:util";
import { RunnerError, messageOf } from "../errors.ts";
import { githubReporter } from "../report/github.ts";
import { jsonReporter } from "../report/json.ts";
import { junitReporter } from "../report/junit.ts";
import { wantsColour } from "../report/paint.ts";
import type { Reporter } from "../report/reporter.ts";
import { specReporter } from "../report/spec.ts";
import { tapReporter } from "../report/tap.ts";
import { type RunOptions, runTests } from "../run/run-tests.ts";
import { connectionOptionTypes, count, readConnection, version, wrongUsage } from "./options.ts";

/** What `pgtap-runner --help` prints. */
const usage = `pgtap-runner [options] FILES…

Runs pgTAP tests: files, directories (every .sql and .pg file in them) and quoted globs. Each worker
has a copy of the database to itself; copies are dropped in the end.

  pgtap-runner -d app tests/
  pgtap-runner --url postgresql://postgres@localhost/app 'tests/**/*.sql' --reporter junit=report.xml
  pgtap-runner -d app --runtests --schema test --match '^test'
  pgtap-runner rls --help       who may do what: every actor, object and command tried

Where (default: the PG* variables, ~/.pgpass and service files, as psql):
  --url URL                  postgresql://user@host:port/database
  -h, --host HOST            host name, or directory of the Unix socket
  -p, --port PORT
  -U, --username USER
  -d, --dbname DATABASE      the database under test, copied for each worker
  --maintenance-db DATABASE  connected to while the copies are made (default postgres)

How:
  -j, --jobs, --workers N    files run at a time (default: one for each processor)
  --in-place                 no copies: run in the database itself, as pg_prove does
  -R, --runtests             run pgTAP's runtests() instead of files
  -s, --schema SCHEMA        … for the functions of this schema
  -x, --match REGEX          … for the functions whose name matches
  -S, --set NAME=VALUE       a psql variable (repeat)
  --ext EXTENSION            ending of test files in a directory (repeat; default .sql and .pg)
  --shard I/N                run part I of N equal parts
  --bail[=N]                 stop after the first failed file, or after N of them
  --timeout SECONDS          most time for one file (default: no limit)
  --allow-leak SETTINGS      settings that files may leave changed, separated by commas
  -b, --psql-bin PATH        psql, for files that use what only psql can do (default psql)
  -w, --watch                run again what changes

What is loaded into the copies before the tests run:
  --load FILE                an SQL file (repeat)
  --assertions               the assertions that pgTAP lacks (see README)
  --pgtap PATH               pgTAP's SQL, for a server without the extension: file, directory, package

Output:
  --reporter NAME[=FILE]     spec (default), tap, junit, github or json (repeat)
  --json                     the same as --reporter json
  -v, --verbose              show the output of files that passed, too
  --slowest N                list so many of the slowest files (default 3)
  --color, --no-color        (default: colour on a terminal)
  --help, --version

Exit code: 0 everything passed; 1 something did not run; 2 wrong usage; 3 tests failed.
`;

const optionTypes = {
  ...connectionOptionTypes,
  jobs: { type: "string", short: "j" },
  workers: { type: "string" },
  "in-place": { type: "boolean" },
  runtests: { type: "boolean", short: "R" },
  schema: { type: "string", short: "s" },
  match: { type: "string", short: "x" },
  set: { type: "string", short: "S", multiple: true },
  ext: { type: "string", multiple: true },
  // Directories are always searched through; pg_prove wants to be told.
  recurse: { type: "boolean", short: "r" },
  shard: { type: "string" },
  bail: { type: "string" },
  timeout: { type: "string" },
  "allow-leak": { type: "string", multiple: true },
  "psql-bin": { type: "string", short: "b" },
  watch: { type: "boolean", short: "w" },
  load: { type: "string", multiple: true },
  assertions: { type: "boolean" },
  pgtap: { type: "string" },
  reporter: { type: "string", multiple: true },
  json: { type: "boolean" },
  verbose: { type: "boolean", short: "v" },
  slowest: { type: "string" },
  color: { type: "boolean" },
  "no-color": { type: "boolean" },
  help: { type: "boolean", short: "?" },
  version: { type: "boolean", short: "V" },
} as const satisfies NonNullable<ParseArgsConfig["options"]>;

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      // parseArgs knows no option whose value may be left out.
      args: args.map((arg) => (arg === "--bail" ? "--bail=1" : arg)),
      options: optionTypes,
      allowPositionals: true,
    });
  } catch (error) {
    throw wrongUsage(messageOf(error));
  }
}

/** Runs tests. Returns the exit code. */
export async function runCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args);
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  if (values.version === true) {
    process.stdout.write(`pgtap-runner ${version()}\n`);
    return 0;
  }
  const runtests =
    values.runtests === true || values.schema !== undefined || values.match !== undefined;
  if (runtests && positionals.length > 0) {
    throw wrongUsage(`--runtests takes no files, but ${positionals[0]} was named`);
  }
  const interruption = new AbortController();
  const { reporters, flush } = openReporters(values);
  const seconds = count("timeout", values.timeout);
  const options: RunOptions = {
    files: positionals,
    connection: readConnection(values),
    reporters,
    runtests: runtests ? { schema: values.schema, match: values.match } : undefined,
    ...(values.ext === undefined ? {} : { extensions: values.ext }),
    workers: count("workers", values.workers ?? values.jobs),
    isolation: values["in-place"] === true ? "in-place" : "clones",
    shard: parseShard(values.shard),
    bail: count("bail", values.bail),
    timeoutMs: seconds === undefined ? undefined : seconds * 1000,
    variables: parseVariables(values.set ?? []),
    allowedLeaks: (values["allow-leak"] ?? []).flatMap((names) => names.split(",")),
    psqlProgram: values["psql-bin"],
    load: values.load ?? [],
    assertions: values.assertions,
    pgtap: values.pgtap,
    keepOutput: values.verbose,
    signal: interruption.signal,
  };
  const release = catchSignals(interruption);
  try {
    const result = await runTests(options);
    return result.exitCode;
  } finally {
    release();
    await flush();
  }
}

/** The first signal ends the run in order; with the second, the process ends at once. */
function catchSignals(interruption: AbortController): () => void {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  const handle = (signal: NodeJS.Signals): void => {
    if (interruption.signal.aborted) {
      release();
      process.kill(process.pid, signal);
      return;
    }
    process.stderr.write(`${signal}: stopping, and dropping the copies of the database\n`);
    interruption.abort();
  };
  const release = (): void => {
    for (const signal of signals) process.off(signal, handle);
  };
  for (const signal of signals) process.on(signal, handle);
  return release;
}

interface ReporterOptions {
  reporter?: string[] | undefined;
  json?: boolean | undefined;
  slowest?: string | undefined;
  color?: boolean | undefined;
  "no-color"?: boolean | undefined;
}

function openReporters(values: ReporterOptions): {
  reporters: Reporter[];
  flush: () => Promise<void>;
} {
  const inActions = process.env["GITHUB_ACTIONS"] === "true";
  const wanted = values.reporter ?? [];
  if (values.json === true) wanted.push("json");
  if (wanted.length === 0) wanted.push("spec", ...(inActions ? ["github"] : []));
  const closing: (() => Promise<void>)[] = [];
  const documents = wanted.filter((name) => /^(json|junit|tap)$/.test(name));
  const onStdout = wanted.filter((name) => !name.includes("="));
  if (documents.length > 0 && onStdout.length > 1) {
    throw wrongUsage(`reporters ${onStdout.join(" and ")} cannot share standard output`);
  }
  const slowest = count("slowest", values.slowest, 0) ?? 3;
  const reporters = wanted.map((text) => {
    const [name = "", path] = text.split(/=(.*)/s, 2);
    let write = (part: string): void => void process.stdout.write(part);
    let colour = path === undefined && wantsColour(values);
    if (path !== undefined) {
      const stream = createWriteStream(path);
      const failed = new Promise<never>((_, reject) => {
        stream.on("error", (error) =>
          reject(new RunnerError("report-failed", `${path}: ${error.message}`, { cause: error })),
        );
      });
      failed.catch(() => undefined);
      write = (part) => void stream.write(part);
      colour = false;
      closing.push(() =>
        Promise.race([failed, new Promise<void>((resolve) => stream.end(() => resolve()))]),
      );
    }
    return makeReporter(name, write, colour, slowest);
  });
  return {
    reporters,
    flush: async () => {
      for (const close of closing) await close();
    },
  };
}

function makeReporter(
  name: string,
  write: (text: string) => void,
  colour: boolean,
  slowest: number,
): Reporter {
  switch (name) {
    case "spec":
      return specReporter({ write, colour, slowest });
    case "tap":
      return tapReporter(write);
    case "junit":
      return junitReporter(write);
    case "github":
      return githubReporter(write);
    case "json":
      return jsonReporter(write);
    default:
      throw wrongUsage(`there is no reporter "${name}": spec, tap, junit, github, json`);
  }
}

function parseShard(text: string | undefined): RunOptions["shard"] {
  if (text === undefined) return undefined;
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const index = Number(match?.[1]);
  const total = Number(match?.[2]);
  if (match === null || index < 1 || index > total) {
    throw wrongUsage(`--shard ${text} is not of the form 1/3`);
  }
  return { index, total };
}

function parseVariables(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = "", value] = pair.split(/=(.*)/s, 2);
      if (value === undefined) throw wrongUsage(`--set ${pair} is not of the form NAME=VALUE`);
      return [name, value];
    }),
  );
}
