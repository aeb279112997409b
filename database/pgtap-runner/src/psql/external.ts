import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import type { Readable } from "node:stream";
import { join } from "node:path";
import { systemErrorCode } from "../errors.ts";
import type { Location } from "./query-buffer.ts";
import { quoteLiteral } from "./scanner.ts";

/** What pg_prove passes to psql. */
export const pgProveArguments: readonly string[] = [
  "--no-psqlrc",
  "--no-align",
  "--quiet",
  "--pset=pager=off",
  "--pset=tuples_only=true",
  "--set=ON_ERROR_STOP=1",
];

export interface ExternalOptions {
  /** The psql program. */
  program: string;
  environment: NodeJS.ProcessEnv;
  workingDirectory: string;
  /** psql variables set from outside. */
  variables: Readonly<Record<string, string>>;
  signal: AbortSignal;
  /** Custom settings to look at in the end. */
  customSettings: ReadonlySet<string>;
  onText(text: string): void;
  onMessage(text: string, location: Location | undefined): void;
}

/** How a file ended that psql ran. */
export interface ExternalOutcome {
  /** psql is not installed. */
  missing: boolean;
  /** 0 to the end, 2 connection lost, 3 stopped by an error; null killed. */
  exitCode: number | null;
  /** The error that stopped it, with its place. */
  error: { message: string; location: Location | undefined } | undefined;
  /** What the file left behind, roles empty if that could not be asked; undefined when it did not come to its end. */
  left:
    | {
        transaction: "none" | "open" | "failed";
        role: string;
        ownRole: string;
        settings: Map<string, string>;
      }
    | undefined;
}

/**
 * Has psql run a file, with the options that pg_prove gives it, and then asks the same session what
 * the file left behind: psql keeps its session from one `--file` to the next.
 */
export async function runWithPsql(
  file: string,
  options: ExternalOptions,
): Promise<ExternalOutcome> {
  const directory = await mkdtemp(join(tmpdir(), "pgtap-runner-"));
  const mark = randomBytes(12).toString("hex");
  const probe = join(directory, "probe.sql");
  try {
    await writeFile(probe, probeScript(mark, options.customSettings));
    return await execute(file, probe, mark, options);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * A savepoint tells the state of the transaction: it is refused outside of one with 25P01, in a
 * failed one with 25P02.
 */
function probeScript(mark: string, customSettings: ReadonlySet<string>): string {
  const names = [...customSettings].map((name) => quoteLiteral(name)).join(", ");
  const custom =
    names === ""
      ? ""
      : `UNION ALL SELECT 'setting', name, current_setting(name, true) FROM unnest(ARRAY[${names}]) name
         WHERE current_setting(name, true) <> ''`;
  return `\\o
\\set QUIET 1
\\set ECHO none
\\set ON_ERROR_STOP 0
\\set ON_ERROR_ROLLBACK 0
\\set AUTOCOMMIT 1
\\pset format unaligned
\\pset expanded off
\\pset tuples_only on
\\pset fieldsep '|'
\\pset recordsep '\\n'
\\warn ${mark}
\\echo
\\echo ${mark}
SAVEPOINT pgtap_runner_probe;
\\echo transaction|:SQLSTATE
ROLLBACK;
SELECT 'role', current_user, session_user
UNION ALL SELECT 'setting', name, setting FROM pg_settings
  WHERE source = 'session' AND setting IS DISTINCT FROM reset_val
${custom};
RESET SESSION AUTHORIZATION;
RESET ROLE;
SELECT 'own role', current_user, session_user;
\\echo ${mark}
`;
}

async function execute(
  file: string,
  probe: string,
  mark: string,
  options: ExternalOptions,
): Promise<ExternalOutcome> {
  const args = [
    ...pgProveArguments,
    ...Object.entries(options.variables).map(([name, value]) => `--set=${name}=${value}`),
    `--file=${file}`,
    `--file=${probe}`,
  ];
  const child = spawn(options.program, args, {
    cwd: options.workingDirectory,
    env: options.environment,
    stdio: ["ignore", "pipe", "pipe"],
    signal: options.signal,
  });
  const exit = new Promise<number | null | "missing">((resolve, reject) => {
    child.on("error", (error) => {
      if (systemErrorCode(error) === "ENOENT") resolve("missing");
      else if (options.signal.aborted) resolve(null);
      else reject(error);
    });
    child.on("close", (code) => resolve(code));
  });

  const answers: string[] = [];
  let marks = 0;
  // The probe's mark follows an empty line of ours, in case the file ended without a newline.
  let held: string | undefined;
  const outLines = (async () => {
    for await (const line of linesOf(child.stdout)) {
      if (line === mark) {
        marks += 1;
        if (held !== undefined && held !== "") options.onText(`${held}\n`);
        held = undefined;
      } else if (marks === 1) answers.push(line);
      else if (marks === 0) {
        if (held !== undefined) options.onText(`${held}\n`);
        held = line;
      }
    }
    if (held !== undefined) options.onText(`${held}\n`);
  })();

  let error: ExternalOutcome["error"];
  let probing = false;
  const errorLines = (async () => {
    for await (const line of linesOf(child.stderr)) {
      if (line === mark) probing = true;
      if (probing) continue;
      const match = /^psql:(.*?):(\d+): (.*)$/.exec(line);
      const location =
        match === null ? undefined : { file: match[1] ?? "", line: Number(match[2]), column: 1 };
      const text = match?.[3] ?? line;
      if (/^(ERROR|FATAL|PANIC|error):/.test(text)) error = { message: text, location };
      options.onMessage(text, location);
    }
  })();

  const [code] = await Promise.all([exit, outLines, errorLines]);
  return {
    missing: code === "missing",
    exitCode: code === "missing" ? null : code,
    error,
    left: marks === 2 ? readAnswers(answers) : undefined,
  };
}

/** Lines as TAP has them: node's own reader ends them at carriage returns and U+2028 as well. */
async function* linesOf(stream: Readable): AsyncGenerator<string> {
  stream.setEncoding("utf8");
  let rest = "";
  for await (const chunk of stream as AsyncIterable<string>) {
    if (!chunk.includes("\n")) {
      rest += chunk;
      continue;
    }
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}

function readAnswers(lines: readonly string[]): NonNullable<ExternalOutcome["left"]> {
  const settings = new Map<string, string>();
  let transaction: "none" | "open" | "failed" = "none";
  let role = "";
  let ownRole = "";
  for (const line of lines) {
    const [kind, name = "", ...rest] = line.split("|");
    if (kind === "transaction") {
      transaction = name === "00000" ? "open" : name === "25P02" ? "failed" : "none";
    } else if (kind === "role") role = name;
    else if (kind === "own role") ownRole = name;
    else if (kind === "setting") settings.set(name, rest.join("|"));
  }
  return { transaction, role, ownRole, settings };
}
