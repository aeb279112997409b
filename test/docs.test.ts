// What the documentation says is true: its links lead somewhere, its commands and flags exist, its
// tables are those of the code.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import manifest from "../package.json" with { type: "json" };
import { createParser } from "../ops/command-help.ts";
import { commands } from "../ops/commands.ts";
import { parseConfiguration } from "../infra/config.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What the parser collects of one option. */
function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

interface Document {
  /** Relative to the checkout. */
  path: string;
  text: string;
}

/** Every Markdown file that is ours. */
const documents: Document[] = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".md") && !/(^|\/)(node_modules|dist|\.[^/]+)\//.test(path))
  .toSorted()
  .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
const named = (path: string): Document => {
  const found = documents.find((document) => document.path === path);
  if (found === undefined) throw new Error(`there is no ${path}`);
  return found;
};
const runbooks = documents.filter(({ path }) => /^docs\/runbooks\/(?!README)/.test(path));
const decisions = documents.filter(({ path }) => path.startsWith("docs/decisions/"));

/** The text without its fenced blocks. */
function prose(text: string): string {
  return text.replaceAll(/^ *```[^]*?^ *```$/gm, "");
}

describe("links", () => {
  /** As GitHub makes them of headings. */
  const anchors = (text: string): string[] =>
    [...prose(text).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    );

  it.each(documents)("of $path lead somewhere", ({ path, text }) => {
    const broken = [...prose(text).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = ""]) => target)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [file = "", anchor] = target.split("#");
        const place = file === "" ? path : join(dirname(path), file);
        if (!existsSync(join(root, place))) return true;
        return anchor !== undefined && !anchors(named(relative(".", place)).text).includes(anchor);
      });
    expect(broken).toEqual([]);
  });

  it("reach every runbook from the list of them", () => {
    const list = named("docs/runbooks/README.md").text;
    const titles = runbooks.map(({ path, text }) => {
      const title = /^# (.+)$/m.exec(text)?.[1] ?? "";
      return `- [${title}](${path.replace("docs/runbooks/", "")})`;
    });
    for (const line of titles) expect(list).toContain(line);
  });
});

it.each(documents)("$path names no folder of whoever wrote it", ({ text }) => {
  expect(text.match(/(?<![\w.~])\/(work|home|Users|workspace|root)\b[^\s`)]*/g) ?? []).toEqual([]);
});

describe("commands", () => {
  /** What is shown to be typed: blocks marked `sh`, and words of prose in backquotes. */
  const typed = (text: string): string[] => [
    ...[...text.matchAll(/^ *```sh\n([^]*?)^ *```$/gm)].flatMap(([, block = ""]) =>
      block.replaceAll(/\\\n\s*/g, " ").split("\n"),
    ),
    ...[...prose(text).matchAll(/`([^`\n]+)`/g)].map(([, words = ""]) => words),
  ];

  /** The words of every simple command in a line of shell; quotes are taken off. */
  const simpleCommands = (line: string): string[][] => {
    const found: string[][] = [[]];
    for (const [token, quoted, double] of line.matchAll(
      /'([^']*)'|"((?:\$\([^)]*\)|[^"])*)"|&&|\|\||[|;()]|\$\(|#.*$|[^\s'"|;&()]+/g,
    )) {
      if (token.startsWith("#")) break;
      const inner = /^\$\((.*)\)$/.exec(double ?? "")?.[1];
      if (inner !== undefined) found.push(...simpleCommands(inner), []);
      else if (/^(&&|\|\||[|;()]|\$\()$/.test(token)) found.push([]);
      else found.at(-1)?.push(quoted ?? double ?? token);
    }
    return found.filter((words) => words.length > 0);
  };

  const commandsOf = (text: string, name: string): string[][] =>
    typed(text)
      .flatMap(simpleCommands)
      .map((words) => (words[0]?.includes("=") === true ? words.slice(1) : words))
      .map((words) => (words[0] === "npx" ? words.slice(1) : words))
      .filter(([first]) => first === name)
      .map((words) => words.slice(1));

  /** Why the words after `ctm` are no command line of it; undefined when they are. */
  const refusalOf = async (words: readonly string[]): Promise<string | undefined> => {
    const entry = commands
      .filter(({ name }) => `${words.join(" ")} `.startsWith(`${name} `))
      .toSorted((one, other) => other.name.length - one.name.length)[0];
    if (entry === undefined) {
      const [first = "--help"] = words;
      const isGroup = commands.some(({ name }) => name.startsWith(`${first} `));
      return first === "--help" || first === "…" || (isGroup && words.length === 1)
        ? undefined
        : "no such command";
    }
    const { command } = await entry.load();
    const parser = createParser(entry.name, command);
    try {
      parser.parse(words.slice(entry.name.split(" ").length), { from: "user" });
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    for (const [name, texts] of Object.entries(parser.opts<Record<string, unknown>>())) {
      // Of options that were not typed commander knows a default.
      if (!isTexts(texts)) continue;
      // Words in capitals stand for a value of the reader's own.
      if (texts.some((text) => /^[A-Z$]+/.test(text))) continue;
      try {
        command.flags[name]?.read(texts);
      } catch (error) {
        return `--${name}: ${error instanceof Error ? error.message : String(error)}`;
      }
    }
    const most = Object.values(command.arguments);
    return parser.args.length > most.length && most.at(-1)?.repeatable !== true
      ? "too many arguments"
      : undefined;
  };

  it("that do not exist would be found", async () => {
    const text =
      "```sh\nnpx ctm statsu\nnpx ctm logs api --line 5 && ctm logs api --lines x\n```\n`ctm key creat`";
    const refused = await Promise.all(commandsOf(text, "ctm").map(refusalOf));
    expect(refused).toEqual([
      "no such command",
      expect.stringContaining("--line"),
      expect.stringContaining("--lines"),
      "no such command",
    ]);
  });

  it.each(documents)("of ctm in $path exist, with their flags", async ({ text }) => {
    const refused: string[] = [];
    for (const words of commandsOf(text, "ctm")) {
      const why = await refusalOf(words);
      if (why !== undefined) refused.push(`ctm ${words.join(" ")}: ${why}`);
    }
    expect(refused).toEqual([]);
  });

  it.each(documents)("of npm in $path exist", ({ text }) => {
    const scripts = Object.keys(manifest.scripts);
    const unknown = commandsOf(text, "npm")
      .filter(([first]) => first === "run")
      .map(([, script = ""]) => script)
      .filter((script) => !scripts.includes(script));
    expect(unknown).toEqual([]);
  });
});

describe("the README's tables", () => {
  /** Cells of the table below a heading whose first cell is code. */
  const rowsBelow = (heading: string): [string, string][] => {
    const [, section = ""] = named("README.md").text.split(`\n## ${heading}\n`);
    const [own = ""] = section.split("\n## ");
    return [...own.matchAll(/^\| `([^`…]+)` +\| (.+?) +\|$/gm)].map(([, code = "", text = ""]) => [
      code,
      text,
    ]);
  };

  it("list every command, as its help does", () => {
    expect(rowsBelow("Commands")).toEqual(commands.map(({ name, summary }) => [name, summary]));
  });

  it("list every configuration key, as infra/config.ts describes it", () => {
    const source = readFileSync(join(root, "infra/config.ts"), "utf8");
    const [, schema = ""] = source.split("const configurationSchema = z.strictObject({\n");
    const [own = ""] = schema.split("\n});\n");
    const keys = [...own.matchAll(/^ {2}\/\*\* ([^]*?) ?\*\/\n {2}(\w+):/gm)].map(
      ([, comment = "", key = ""]) => [key, comment.replaceAll(/\n {3}\* ?/g, " ").trim()],
    );
    // Those with a default must be among them: otherwise the reading above misses some.
    expect(keys.map(([key]) => key)).toEqual(
      expect.arrayContaining(Object.keys(parseConfiguration({}))),
    );
    expect(rowsBelow("Configuration")).toEqual(keys);
  });
});

describe("decisions", () => {
  it.each(decisions)("$path says what was asked, decided, paid and rejected", ({ text }) => {
    for (const part of ["Question", "Decision", "Cost", "Rejected"]) {
      expect(text).toMatch(new RegExp(`^\\*\\*${part}\\.\\*\\*`, "m"));
    }
    // At most a page.
    expect(text.split(/\s+/).length).toBeLessThan(700);
  });

  it("have a number of their own", () => {
    const numbers = decisions.map(({ path }) => /\/(\d{4})-[a-z0-9-]+\.md$/.exec(path)?.[1]);
    expect(numbers).not.toContain(undefined);
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  it("give a reason for every dependency", () => {
    const text = named("docs/decisions/0004-dependencies.md").text;
    const listed = [...text.matchAll(/^- `([^`]+)`/gm)].map(([, name = ""]) => name);
    const used = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.devDependencies)];
    expect(new Set(listed)).toEqual(new Set(used));
  });
});

describe("runbooks", () => {
  it.each(runbooks)("$path: is there a backup, check, decide, act, verify, undo", ({ text }) => {
    const [before = ""] = text.split("\n## ");
    expect(before).toContain("**Is there a backup?**");
    const headings = [...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual(["Check", "Decide", "Act", "Verify", "Undo"]);
  });
});
