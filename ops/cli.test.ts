import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createParser, commandHelp } from "./command-help.ts";
import { commands } from "./commands.ts";

const cli = fileURLToPath(new URL("cli.ts", import.meta.url));
let home: string;
beforeAll(async () => {
  home = await mkdtemp("/tmp/ctm-cli-");
});
afterAll(async () => {
  await rm(home, { recursive: true });
});

function start(args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", cli, ...args], {
    cwd: options.cwd ?? "/",
    env: { ...process.env, CTM_HOME: home, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const ended = once(child, "close").then(([code, signal]: unknown[]) => ({
    code,
    signal,
    out,
    err,
  }));
  return { child, ended };
}

test.each(commands)("ctm $name --help has an example and the document's shape", async (entry) => {
  const { command } = await entry.load();
  const help = commandHelp(createParser(entry.name, command), command);
  expect(help).toMatch(/^Examples?:\n {2}# .+\n {2}\S/m);
  expect(help).toMatch(/^JSON:\n {2}\{/m);
  // What is shown to be typed must be this command.
  expect(command.examples.every(({ run }) => run.includes(entry.name))).toBe(true);
});

test("a stack that was never made is a refusal that says what to do", async () => {
  const { ended } = start(["status", "--json", "--stack", "blue"]);
  expect(await ended).toMatchObject({
    code: 2,
    err: "",
    out: `{"error":{"code":"no-such-stack","message":"there is no stack \\"blue\\" here (${home}/blue/descriptor.json does not exist)","next":"npm run up -- --stack blue"}}\n`,
  });
});

test.each([
  ["../x", 'bad-stack-name: "../x" is no name for a stack'],
  ["A", 'bad-stack-name: "A" is no name for a stack'],
])("a stack's name is checked: %s", async (stack, expected) => {
  const { code, err } = await start(["status", "--stack", stack]).ended;
  expect(code).toBe(2);
  expect(err).toContain(expected);
});

test("the working folder may be gone, locale and time zone may be odd", async () => {
  const gone = await mkdtemp(`${home}/gone-`);
  const running = start(["--help"], {
    cwd: gone,
    env: { TZ: "Pacific/Kiritimati", LANG: "tr_TR.UTF-8", LC_ALL: "tr_TR.UTF-8" },
  });
  await rm(gone, { recursive: true });
  const { code, out } = await running.ended;
  expect(code).toBe(0);
  expect(out).toContain("Commands:");
});

test("a reader that goes away is no failure", async () => {
  const { child, ended } = start(["--help"]);
  child.stdout.destroy();
  expect(await ended).toMatchObject({ code: 0, err: "" });
});
