import { parseArgs, type ParseArgsConfig } from "node:util";
import { messageOf } from "../errors.ts";
import { type RunOptions, runTests } from "../run/run-tests.ts";
import { openReporters } from "./open-reporters.ts";
import { connectionOptionTypes, count, readConnection, version, wrongUsage } from "./options.ts";
import { watch } from "./watch.ts";

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
  --stock-pgtap              leave pgTAP's functions there as they are (slower, the same results)

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
  "stock-pgtap": { type: "boolean" },
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
  const seconds = count("timeout", values.timeout);
  const options: RunOptions = {
    files: positionals,
    connection: readConnection(values),
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
    stockPgtap: values["stock-pgtap"],
    keepOutput: values.verbose,
  };
  const interruption = new AbortController();
  const run = async (files: readonly string[]): Promise<number> => {
    const { reporters, flush } = openReporters(values);
    try {
      const { signal } = interruption;
      const result = await runTests({ ...options, files, reporters, signal });
      return result.exitCode;
    } finally {
      await flush();
    }
  };
  const release = catchEnds(interruption);
  try {
    return values.watch === true
      ? await watch(options, run, interruption.signal)
      : await run(positionals);
  } finally {
    release();
  }
}

/**
 * The first signal ends the run in order; with the second, the process ends at once. That nobody
 * reads the report any more (`| head`) ends it as well.
 */
function catchEnds(interruption: AbortController): () => void {
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
  const broken = (): void => interruption.abort();
  const release = (): void => {
    for (const signal of signals) process.off(signal, handle);
    process.stdout.off("error", broken);
  };
  for (const signal of signals) process.on(signal, handle);
  process.stdout.on("error", broken);
  return release;
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
