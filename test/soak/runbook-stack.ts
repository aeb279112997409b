import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run, waitFor } from "#system";
import { checkout, execute, Home, mustSucceed, shown, type Ended } from "../e2e/home.ts";

/** A block of a runbook that is shown to be typed. */
export interface Step {
  runbook: string;
  /** The heading that it stands under; "" before the first one. */
  section: string;
  shell: string;
  /** The output that stands below it. */
  output: string | undefined;
}

export interface Status {
  healthy: boolean;
  problems: { code: string; message: string }[];
  postgres: { primary: string | null; members: { name: string; role: string | null }[] };
}

interface Following {
  /** What the reader puts in the place of the page's examples, by the text of the page. */
  instead?: Record<string, string>;
  /** What is typed into it. */
  input?: string;
}

/** A stack in a home and a clone of its own, and what was followed of each runbook on it. */
export class RunbookStack {
  readonly home: Home;
  /** The person's checkout. */
  readonly clone: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #followed = new Set<string>();

  private constructor(home: Home, extra: NodeJS.ProcessEnv) {
    this.home = home;
    this.clone = join(home.directory, "clone");
    this.#env = { ...home.env, ...extra };
  }

  /** A home with a clone in it, and no stack yet. */
  static async create(): Promise<RunbookStack> {
    return await RunbookStack.in(await Home.create());
  }

  /** A clone in this home, for a person with these variables. */
  static async in(home: Home, extra: NodeJS.ProcessEnv = {}): Promise<RunbookStack> {
    const stack = new RunbookStack(home, extra);
    await stack.makeClone();
    return stack;
  }

  async makeClone(): Promise<void> {
    await run("git", ["clone", "--quiet", checkout, this.clone]);
  }

  async shell(script: string, input = "", habits = "-euo"): Promise<Ended> {
    const options = { cwd: this.clone, env: this.#env, input };
    return await execute("bash", [habits, "pipefail", "-c", script], options);
  }

  /** Runs a script in the clone, failing the test with its output when it does not exit 0. */
  async must(script: string): Promise<string> {
    return mustSucceed(script, await this.shell(script));
  }

  /** Blocks of a page in their order; those of a section only, when one is named. */
  async steps(runbook: string, section?: string): Promise<Step[]> {
    const text = await readFile(join(checkout, "docs/runbooks", `${runbook}.md`), "utf8");
    const steps: Step[] = [];
    for (const part of text.split(/^(?=## )/m)) {
      const heading = /^## (.*)$/m.exec(part)?.[1] ?? "";
      if (section !== undefined && heading !== section) continue;
      for (const [, indent = "", kind, block = ""] of part.matchAll(
        /^( *)```(sh|text)\n([^]*?)^ *```$/gm,
      )) {
        const lines = block.replaceAll(new RegExp(`^${indent}`, "gm"), "");
        const last = steps.at(-1);
        if (kind === "sh")
          steps.push({ runbook, section: heading, shell: lines, output: undefined });
        else if (last !== undefined) last.output ??= lines;
      }
    }
    return steps;
  }

  /** The one block of a section whose commands hold these words. */
  async step(runbook: string, section: string, words: string): Promise<Step> {
    const found = (await this.steps(runbook, section)).filter(({ shell }) => shell.includes(words));
    const [step] = found;
    if (step === undefined || found.length > 1) {
      throw new Error(`${runbook}.md, ${section}: ${found.length} blocks with "${words}"`);
    }
    return step;
  }

  /** Runs a block as a reader would, and holds its output to what the page shows. */
  async follow(step: Step, { instead = {}, input = "" }: Following = {}): Promise<Ended> {
    const script = answered(this.#readers(step.shell, instead));
    // What looks for something wrong ends with an error when it finds it.
    const looks = step.section === "Check" || step.section === "";
    const ended = await this.shell(script, input, looks ? "-uo" : "-euo");
    if (!looks) mustSucceed(script, ended);
    this.#shows(step, ended, instead);
    return ended;
  }

  /** Follows every block of a section. */
  async followAll(runbook: string, section: string, following: Following = {}): Promise<void> {
    for (const step of await this.steps(runbook, section)) await this.follow(step, following);
  }

  /** Blocks in one shell, where later ones use the variables of earlier ones. */
  async followTogether(steps: readonly Step[]): Promise<void> {
    const script = steps.map(({ shell }) => answered(this.#readers(shell, {}))).join("\n");
    const ended = await this.shell(script);
    mustSucceed(script, ended);
    for (const step of steps) this.#shows(step, ended);
  }

  /** Commands of a page that nothing followed. */
  async unfollowed(runbook: string): Promise<string[]> {
    const steps = await this.steps(runbook);
    if (steps.length === 0) throw new Error(`${runbook}.md shows no command`);
    return steps.filter((step) => !this.#followed.has(keyOf(step))).map(({ shell }) => shell);
  }

  async status(): Promise<Status> {
    return await this.home.json<Status>("status");
  }

  /** Who leads and who stands by, where the pages say m1 and m2. */
  async roles(): Promise<{ leader: string; standby: string }> {
    const leader = (await this.status()).postgres.primary ?? "";
    return { leader, standby: leader === "m1" ? "m2" : "m1" };
  }

  /** Makes Pulumi's lost state anew, by step 3 of its page. */
  async adoptWhatIsThere(): Promise<void> {
    const first = await this.shell("npm run up");
    if (!`${first.stdout}${first.stderr}`.includes("already exists (42710)")) {
      throw new Error(`up went another way than the page says:\n${shown(first)}`);
    }
    await this.follow(await this.step("lost-checkout-or-pulumi-state", "Act", "pulumi import"));
    await this.must("npm run up");
  }

  /** Makes the escrow, escrow.txt in the clone, for somebody who keeps the phrase elsewhere. */
  async writeEscrow(phrase: string): Promise<void> {
    await writeFile(join(this.clone, "secret.txt"), phrase, { mode: 0o600 });
    await this.must(
      "npx ctm backup passphrase --output escrow.txt --passphrase-file secret.txt --yes && rm secret.txt",
    );
  }

  async healthy(): Promise<void> {
    await waitFor("the stack to be healthy", 120_000, async () => {
      const { healthy, problems } = await this.status();
      if (!healthy) throw new Error(problems.map(({ code }) => code).join(", "));
      return true;
    });
  }

  async problem(code: string): Promise<void> {
    await waitFor(`the problem ${code}`, 120_000, async () => {
      const { problems } = await this.status();
      const codes = problems.map((each) => each.code);
      if (!codes.includes(code)) throw new Error(codes.join(", "));
      return true;
    });
  }

  async tasks(): Promise<number> {
    const { rows } = await this.home.owner("SELECT count(*)::int AS tasks FROM tasks");
    return Number(rows[0]?.["tasks"]);
  }

  async addTasks(title: string, count: number): Promise<void> {
    await this.home.owner(
      `INSERT INTO tasks (title) SELECT '${title} ' || n FROM generate_series(1, ${count}) n`,
    );
  }

  async end(): Promise<void> {
    await this.home.end();
  }

  #shows(step: Step, ended: Ended, instead: Record<string, string> = {}): void {
    const text = `${ended.stdout}\n${ended.stderr}`;
    for (const line of this.#readers(step.output ?? "", instead).split("\n")) {
      if (!like(line).test(text)) {
        throw new Error(`${step.shell}does not show "${line}", but:\n${shown(ended)}`);
      }
    }
    this.#followed.add(keyOf(step));
  }

  /** The home of a test stands where root's stands in the page. All at once: m1 may be m2. */
  #readers(text: string, instead: Record<string, string>): string {
    const words: Record<string, string> = {
      ...instead,
      "/var/lib/ctm": this.home.directory,
      "/var/log/ctm": join(this.home.directory, "log"),
    };
    const any = Object.keys(words).map((word) => escaped(word));
    return text.replaceAll(new RegExp(any.join("|"), "g"), (word) => words[word] ?? word);
  }
}

function keyOf({ runbook, section, shell }: Step): string {
  return [runbook, section, shell].join("\n");
}

/** As a person would answer at a terminal, which a test has not. */
function answered(script: string): string {
  return script
    .replaceAll(/^(npx ctm restore (?!.*--plan|list|remove|.*--into).*)$/gm, "$1 --yes")
    .replaceAll(/^(npx ctm backup passphrase .*)$/gm, "$1 --yes")
    .replaceAll(/^(npm run down)$/gm, "$1 -- --yes");
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** A line of output as documented, but for numbers, times and blanks. */
function like(line: string): RegExp {
  return new RegExp(escaped(line.trim()).replaceAll(/\d+/g, "\\d+").replaceAll(/\s+/g, "\\s+"));
}
