// How long `npm run up` takes: on an empty home with warm caches, and again with nothing changed,
// in turns with a Pulumi program of as many no-op resources on the same engine.
import { cpus, loadavg, tmpdir, totalmem } from "node:os";
import { chmod, mkdtemp, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { spawn } from "node:child_process";
import { z } from "zod";
import { stackPaths } from "#stack";
import { endProcesses, stackProcesses } from "#runtime";
import { CtmError } from "#system";
import { installPackages, localPackages } from "../../infra/runtime/local/packages.ts";
import { serverVersion } from "../../infra/runtime/local/server-version.ts";

const say = (line: string): void => console.error(`bench: ${line}`);
const root = fileURLToPath(new URL("../..", import.meta.url));
const stack = "bench";
/** Runs with nothing changed in each round; a round begins with an empty home. */
const repeats = 3;

/** Measures and prints; exits 0 whatever the numbers are. Takes `--rounds N` and `--json`. */
export async function benchUp(args: readonly string[]): Promise<void> {
  const { rounds, json } = readArguments(args);
  await installPackages(localPackages(await serverVersion([])), say);
  const home = await mkdtemp(join(tmpdir(), "ctm-bench-"));
  // Other OS users run services below it.
  await chmod(home, 0o755);
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, interrupt);
  const environment = environmentIn(home);
  const shell: Shell = (command, more, options = {}) =>
    runToEnd(command, more, { environment, signal: interrupted.signal, ...options });
  try {
    const measured = await measure(shell, home, rounds);
    console.log(json ? JSON.stringify(documentOf(measured)) : textOf(measured));
  } finally {
    await cleanUp(home, environment);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, interrupt);
  }
}

/** Milliseconds of each run, by what was run. */
interface Measured {
  machine: { cores: number; memory_bytes: number; load_at_start: number };
  rounds: number;
  /** Of the stack, and so of the no-ops beside it. */
  resources: number;
  empty: number[];
  unchanged: number[];
  ownPreview: number[];
  noOpPreview: number[];
  noOpUp: number[];
}

async function measure(shell: Shell, home: string, rounds: number): Promise<Measured> {
  // Engine and npm packages: what a first `up` on this machine would wait for.
  await environmentOf(shell);
  await ctm(shell, ["down", "--yes", "--purge"]);
  const measured: Measured = {
    machine: {
      cores: cpus().length,
      memory_bytes: totalmem(),
      load_at_start: loadavg()[0] ?? Number.NaN,
    },
    rounds,
    resources: 0,
    empty: [],
    unchanged: [],
    ownPreview: [],
    noOpPreview: [],
    noOpUp: [],
  };
  let noOps: NoOps | undefined;
  for (let round = 1; round <= rounds; round += 1) {
    say(`round ${round} of ${rounds}: an empty home`);
    measured.empty.push(await timed(() => npmRunUp(shell)));
    const engine = await environmentOf(shell);
    measured.resources = await countResources(shell, engine);
    noOps ??= await NoOps.create(shell, join(home, "no-ops"), measured.resources, engine);
    const beside = noOps;
    for (let repeat = 1; repeat <= repeats; repeat += 1) {
      say(`round ${round} of ${rounds}: nothing changed, ${repeat} of ${repeats}`);
      measured.unchanged.push(await timed(() => npmRunUpUnchanged(shell)));
      measured.ownPreview.push(await timed(() => preview(shell, root, engine)));
      measured.noOpPreview.push(await timed(() => beside.preview(engine)));
      measured.noOpUp.push(await timed(() => beside.up(engine)));
    }
    await ctm(shell, ["down", "--yes", "--purge"]);
  }
  return measured;
}

function readArguments(args: readonly string[]): { rounds: number; json: boolean } {
  const usage = { next: "npm run bench -- up --rounds 3 --json", exitCode: 2 } as const;
  let values: { rounds: string; json: boolean };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        rounds: { type: "string", default: "3" },
        json: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    throw new CtmError("bad-usage", error instanceof Error ? error.message : "", usage);
  }
  const rounds = Number(values.rounds);
  if (Number.isInteger(rounds) && rounds >= 1) return { rounds, json: values.json };
  throw new CtmError("bad-usage", `--rounds ${values.rounds} is no whole number from 1`, usage);
}

// --- the stack ----------------------------------------------------------------------------------

async function npmRunUp(shell: Shell): Promise<string> {
  return await shell("npm", ["run", "--silent", "up", "--", "--stack", stack, "--json"]);
}

async function npmRunUpUnchanged(shell: Shell): Promise<void> {
  const { changes } = z.looseObject({ changes: z.int() }).parse(JSON.parse(await npmRunUp(shell)));
  if (changes === 0) return;
  throw new CtmError("not-unchanged", `an up right after another made ${changes} changes`);
}

/** What plain pulumi needs on the stack: `ctm env`. */
async function environmentOf(shell: Shell): Promise<Variables> {
  return z.record(z.string(), z.string()).parse(JSON.parse(await ctm(shell, ["env"])));
}

async function ctm(shell: Shell, args: readonly string[]): Promise<string> {
  const bin = join(root, "bin", "ctm");
  return await shell(process.execPath, [bin, ...args, "--stack", stack, "--json"]);
}

/** The one call of Pulumi in an `up` with nothing changed: infra/automation/preview.ts. */
async function preview(shell: Shell, folder: string, variables: Variables): Promise<void> {
  const options = ["--json", "--refresh", "--suppress-progress", "--non-interactive"];
  await shell("pulumi", ["preview", ...options], { folder, variables });
}

/** Resources that have something to look at: neither the stack, nor components, nor providers. */
async function countResources(shell: Shell, variables: Variables): Promise<number> {
  const text = await shell("pulumi", ["stack", "export"], { folder: root, variables });
  const { deployment } = z
    .object({
      deployment: z.object({
        resources: z.array(z.looseObject({ type: z.string(), custom: z.boolean().optional() })),
      }),
    })
    .parse(JSON.parse(text));
  return deployment.resources.filter(
    ({ type, custom }) => custom === true && !type.startsWith("pulumi:providers:"),
  ).length;
}

// --- the program of no-ops ----------------------------------------------------------------------

/** A Pulumi project of its own with a backend of its own, on the engine that the stack uses. */
class NoOps {
  readonly #shell: Shell;
  readonly #folder: string;

  private constructor(shell: Shell, folder: string) {
    this.#shell = shell;
    this.#folder = folder;
  }

  static async create(
    shell: Shell,
    folder: string,
    count: number,
    engine: Variables,
  ): Promise<NoOps> {
    const here = (name: string): string => join(root, "test/bench", name);
    await mkdir(join(folder, "provider"), { recursive: true });
    await mkdir(join(folder, "backend"));
    const project = {
      name: "noop",
      runtime: {
        name: "nodejs",
        options: { typescript: false, nodeargs: "--disable-warning=ExperimentalWarning" },
      },
      main: "program.ts",
      plugins: { providers: [{ name: "noop", path: "provider" }] },
    };
    // JSON is YAML.
    await writeFile(join(folder, "Pulumi.yaml"), JSON.stringify(project));
    await writeFile(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    await symlink(join(root, "node_modules"), join(folder, "node_modules"));
    await writeFile(
      join(folder, "program.ts"),
      `import ${JSON.stringify(here("no-op-program.ts"))};\n`,
    );
    await writeFile(
      join(folder, "provider", "pulumi-resource-noop"),
      `#!/bin/sh\nexec node --no-warnings '${here("no-op-provider.ts").replaceAll("'", `'\\''`)}' "$@"\n`,
      { mode: 0o755 },
    );
    const made = new NoOps(shell, folder);
    const pulumi = made.#pulumi(engine);
    await pulumi("stack", "init", "noop");
    await pulumi("config", "set", "count", String(count));
    await made.up(engine);
    return made;
  }

  async preview(variables: Variables): Promise<void> {
    await preview(this.#shell, this.#folder, this.#environment(variables));
  }

  async up(variables: Variables): Promise<void> {
    await this.#pulumi(variables)("up", "--yes", "--refresh", "--suppress-progress");
  }

  #pulumi(variables: Variables): (...args: string[]) => Promise<string> {
    const environment = this.#environment(variables);
    return (...args) =>
      this.#shell("pulumi", [...args, "--non-interactive"], {
        folder: this.#folder,
        variables: environment,
      });
  }

  #environment(variables: Variables): Record<string, string> {
    const { PULUMI_CONFIG_PASSPHRASE_FILE: _, ...engine } = variables;
    return {
      ...engine,
      PULUMI_STACK: "noop",
      PULUMI_BACKEND_URL: `file://${join(this.#folder, "backend")}`,
      PULUMI_CONFIG_PASSPHRASE: "nothing is secret here",
    };
  }
}

// --- running and timing -------------------------------------------------------------------------

type Variables = Readonly<Record<string, string>>;
type Shell = (
  command: string,
  args: readonly string[],
  options?: { folder?: string; variables?: Variables },
) => Promise<string>;

/** The caller's environment without anything that would lead to another stack or backend. */
function environmentIn(home: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("PULUMI_") && name !== "CTM_STACK",
  );
  return { ...Object.fromEntries(kept), CTM_HOME: home };
}

/** Runs a program and returns its standard output; an abort asks it to end, as Ctrl-C does. */
async function runToEnd(
  command: string,
  args: readonly string[],
  options: {
    environment: NodeJS.ProcessEnv;
    signal?: AbortSignal;
    folder?: string;
    variables?: Variables;
  },
): Promise<string> {
  const env = { ...options.environment, ...options.variables };
  const shown = [command, ...args].join(" ");
  return await new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.folder ?? root,
      env,
      stdio: ["ignore", "pipe", "pipe"],
      killSignal: "SIGINT",
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    let stdout = "";
    let both = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      both += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (both += text));
    let failure: Error | undefined;
    child.once("error", (error) => (failure = error));
    child.once("close", (code, signal) => {
      if (code === 0) return resolve(stdout);
      const last = both.trimEnd().split("\n").slice(-15).join("\n  ");
      const how = failure?.message ?? signal ?? `exit code ${code}`;
      return reject(new CtmError("bench-failed", `${shown} ended with ${how}:\n  ${last}`));
    });
  });
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

/** Leaves nothing behind, also where a run failed half-way or was interrupted. */
async function cleanUp(home: string, environment: NodeJS.ProcessEnv): Promise<void> {
  const shell: Shell = (command, args) => runToEnd(command, args, { environment });
  await ctm(shell, ["down", "--yes", "--purge"]).catch(() => undefined);
  await endProcesses(await stackProcesses(stackPaths(stack, environment).state), 20_000);
  await rm(home, { recursive: true, force: true });
  await rm(join(root, `Pulumi.${stack}.yaml`), { force: true });
}

// --- what is shown ------------------------------------------------------------------------------

/** One line of the table: the median is compared, the rest shows how disturbed the machine was. */
interface Row {
  what: string;
  goal: string;
  milliseconds: readonly number[];
}

function rowsOf({ resources, ...measured }: Measured): Row[] {
  const { empty, unchanged, ownPreview, noOpPreview, noOpUp } = measured;
  const call = "pulumi preview --refresh";
  return [
    { what: "npm run up, empty home, warm caches", goal: "under 60 s", milliseconds: empty },
    { what: "npm run up, nothing changed", goal: "under 10 s", milliseconds: unchanged },
    { what: `  of that, ${call}`, goal: "", milliseconds: ownPreview },
    { what: `${resources} no-ops, ${call}`, goal: "", milliseconds: noOpPreview },
    { what: `${resources} no-ops, pulumi up --refresh`, goal: "", milliseconds: noOpUp },
  ];
}

/** "Nothing changed" in times of the no-ops: the same call, and the whole command. */
function ratiosOf({ unchanged, ownPreview, noOpPreview, noOpUp }: Measured): {
  preview_to_preview: number;
  command_to_up: number;
  command_to_preview: number;
} {
  const ratio = (ours: readonly number[], theirs: readonly number[]): number =>
    Number((median(ours) / median(theirs)).toFixed(2));
  return {
    preview_to_preview: ratio(ownPreview, noOpPreview),
    command_to_up: ratio(unchanged, noOpUp),
    command_to_preview: ratio(unchanged, noOpPreview),
  };
}

function documentOf(measured: Measured): unknown {
  return {
    machine: measured.machine,
    rounds: measured.rounds,
    resources: measured.resources,
    measured: rowsOf(measured).map(({ what, milliseconds }) => ({
      what: what.trim(),
      median_ms: Math.round(median(milliseconds)),
      all_ms: milliseconds.map((each) => Math.round(each)),
    })),
    ratios: ratiosOf(measured),
  };
}

function textOf(measured: Measured): string {
  const { machine, rounds } = measured;
  const ratios = ratiosOf(measured);
  const memory = Math.round(machine.memory_bytes / 1024 ** 3);
  return [
    `${machine.cores} cores, ${memory} GB, load ${machine.load_at_start.toFixed(1)} at the start; ${rounds} empty homes, ${repeats} times nothing changed on each`,
    "",
    table(rowsOf(measured)),
    "",
    "nothing changed, in times of the no-ops (goal: at most 2):",
    `  ${ratios.preview_to_preview}  preview to preview`,
    `  ${ratios.command_to_up}  npm run up to their pulumi up`,
    `  ${ratios.command_to_preview}  npm run up to their preview alone`,
  ].join("\n");
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

function table(rows: readonly Row[]): string {
  const seconds = (milliseconds: number): string => (milliseconds / 1000).toFixed(1).padStart(8);
  const width = Math.max(...rows.map(({ what }) => what.length));
  return [
    `${"".padEnd(width)}  MEDIAN s  BEST s   WORST s   GOAL`,
    ...rows.map(({ what, goal, milliseconds }) =>
      [
        what.padEnd(width),
        seconds(median(milliseconds)),
        seconds(Math.min(...milliseconds)),
        seconds(Math.max(...milliseconds)),
        ` ${goal}`,
      ]
        .join("  ")
        .trimEnd(),
    ),
  ].join("\n");
}
