import { EventEmitter, once } from "node:events";
import { PassThrough } from "node:stream";
import { expect, test, vi } from "vitest";
import { z } from "zod";
import { CtmError } from "#system";
import { defineCommand } from "./command.ts";
import type { Entry } from "./commands.ts";
import { dispatch } from "./dispatch.ts";
import { Interrupts } from "./interrupts.ts";
import { oneOf, optional, repeated, required, textUpTo, wholeNumber } from "./parameters.ts";

const bake = defineCommand({
  help: "Bakes a cake.",
  examples: [{ run: "ctm bake cheese --layers 3", does: "three layers" }],
  arguments: { kind: optional("KIND", "which cake", oneOf("cheese", "apple")) },
  flags: {
    layers: required("N", "how many layers", wholeNumber(1, 9)),
    topWith: repeated("TOPPING", "what goes on top", textUpTo(8)),
  },
  document: z.strictObject({
    kind: z.string().nullable(),
    layers: z.int(),
    top: z.array(z.string()),
  }),
  run: async ({ kind, layers, topWith }) => ({ kind: kind ?? null, layers, top: [...topWith] }),
  render: ({ layers }, paint) => paint.good(`${layers} layers`),
  exitCode: ({ layers }) => (layers > 5 ? 3 : 0),
});

const eat = defineCommand({
  help: "Eats the cake.",
  examples: [{ run: "ctm bake eat --yes", does: "without asking" }],
  arguments: {},
  flags: {},
  destructive: true,
  document: z.strictObject({ stack: z.string() }),
  async run(_, context) {
    await context.confirm("The cake will be gone.");
    return { stack: context.stack };
  },
  render: ({ stack }) => `${stack} is eaten`,
});

const oven = new EventEmitter();

const burn = defineCommand({
  help: "Fails.",
  examples: [{ run: "ctm burn", does: "fails" }],
  arguments: { how: optional("HOW", "how", oneOf("known", "defect", "waiting", "mending")) },
  flags: {},
  document: z.null(),
  async run({ how }, context) {
    const { signal } = context;
    if (how === "mending") {
      await context.undisturbed(async () => {
        oven.emit("begun");
        await once(oven, "mended");
      });
      throw new CtmError("interrupted", "the oven is whole again");
    }
    if (how === "defect") throw new TypeError("no oven");
    if (how === "waiting") {
      await new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(new Error("the child was killed")));
      });
    }
    throw new CtmError("too-hot", "the oven has 300 degrees", { next: "ctm cool" });
  },
  render: () => "",
});

const entries: Entry[] = [
  { name: "bake", summary: "bakes", load: async () => ({ command: bake }) },
  { name: "bake eat", summary: "eats", load: async () => ({ command: eat }) },
  { name: "burn", summary: "burns", load: async () => ({ command: burn }) },
  { name: "key list", summary: "lists", load: async () => ({ command: burn }) },
];

async function ctm(
  line: string,
  options: { env?: NodeJS.ProcessEnv; answer?: string; interrupts?: Interrupts } = {},
): Promise<{ code: number; out: string; err: string }> {
  const input = new PassThrough();
  const output = new PassThrough();
  const error = new PassThrough();
  if (options.answer !== undefined) {
    Object.assign(input, { isTTY: true });
    Object.assign(error, { isTTY: true });
    input.end(`${options.answer}\n`);
  }
  const code = await dispatch(
    line.split(" ").filter((word) => word !== ""),
    {
      input,
      output,
      error,
      env: { NO_COLOR: "1", ...options.env },
      interrupts: options.interrupts ?? new Interrupts(),
    },
    entries,
  );
  return { code, out: String(output.read() ?? ""), err: String(error.read() ?? "") };
}

test("people get the text, programs get the document", async () => {
  expect(await ctm("bake cheese --layers 3")).toEqual({ code: 0, out: "3 layers\n", err: "" });
  expect(await ctm("bake --json --layers 3 --top-with nuts --top-with plum")).toEqual({
    code: 0,
    out: '{"kind":null,"layers":3,"top":["nuts","plum"]}\n',
    err: "",
  });
});

test("the answer decides the exit code", async () => {
  expect((await ctm("bake --layers 6")).code).toBe(3);
});

test.each([
  ["", "no-command: no command is given\nnext: ctm --help\n"],
  ["brun", 'unknown-command: there is no command "brun"\nnext: ctm burn\n'],
  ["zzz", 'unknown-command: there is no command "zzz"\nnext: ctm --help\n'],
  ["key", 'no-command: "key" needs one more word\nnext: ctm key --help\n'],
  ["key lsit", 'unknown-command: there is no command "key lsit"\nnext: ctm key list\n'],
  ["key zzz", 'unknown-command: there is no command "key zzz"\nnext: ctm key --help\n'],
  ["bake", "bad-usage: --layers is missing\nnext: ctm bake --help\n"],
  [
    "bake plum --layers 0 --top-with strawberries",
    'bad-usage: --layers "0" is not a whole number from 1 to 9; --top-with has 12 characters, 8 at most; KIND "plum" is not one of cheese, apple\nnext: ctm bake --help\n',
  ],
  ["bake --layers", "bad-usage: option '--layers <N>' argument missing\nnext: ctm bake --help\n"],
  ["bake --layers 1 --layers 2", "bad-usage: --layers is given 2 times\nnext: ctm bake --help\n"],
  [
    "bake --layres 1",
    "bad-usage: unknown option '--layres' (Did you mean --layers?)\nnext: ctm bake --help\n",
  ],
  [
    "bake --layers 1 apple pie",
    'bad-usage: "pie" is one argument too many\nnext: ctm bake --help\n',
  ],
  [
    "bake eat",
    "The cake will be gone.\nconfirmation-needed: there is no terminal to ask; nothing was changed\nnext: run it again with --yes\n",
  ],
])("wrong usage exits 2 and says what to do: ctm %s", async (line, expected) => {
  expect(await ctm(line)).toEqual({ code: 2, out: "", err: expected });
});

test("errors are a document too", async () => {
  expect(await ctm("burn known --json")).toEqual({
    code: 1,
    out: '{"error":{"code":"too-hot","message":"the oven has 300 degrees","next":"ctm cool"}}\n',
    err: "",
  });
  expect(await ctm("--json")).toEqual({
    code: 2,
    out: '{"error":{"code":"no-command","message":"no command is given","next":"ctm --help"}}\n',
    err: "",
  });
});

test("a known error has no stack trace, a defect keeps its own", async () => {
  expect((await ctm("burn known")).err).toBe("too-hot: the oven has 300 degrees\nnext: ctm cool\n");
  const defect = await ctm("burn defect");
  expect(defect.code).toBe(1);
  expect(defect.err).toMatch(/^internal-error: TypeError: no oven\n {4}at /);
});

test("the stack comes from the flag, then from CTM_STACK, then is local", async () => {
  expect((await ctm("bake eat --yes --json")).out).toBe('{"stack":"local"}\n');
  const env = { CTM_STACK: "blue" };
  expect((await ctm("bake eat --yes --json", { env })).out).toBe('{"stack":"blue"}\n');
  expect((await ctm("--stack red bake eat --yes --json", { env })).out).toBe('{"stack":"red"}\n');
});

test("what comes next names the stack that only the command line named", async () => {
  expect((await ctm("burn known --stack red")).err).toBe(
    "too-hot: the oven has 300 degrees\nnext: ctm --stack red cool\n",
  );
  expect((await ctm("burn known --stack=red --json")).out).toContain(
    '"next":"ctm --stack red cool"',
  );
  const env = { CTM_STACK: "red" };
  expect((await ctm("burn known --stack red", { env })).err).toContain("next: ctm cool\n");
  expect((await ctm("burn known --stack local")).err).toContain("next: ctm cool\n");
});

test("a terminal is asked, and only yes is yes", async () => {
  const yes = await ctm("bake eat", { answer: "yes" });
  expect(yes).toMatchObject({ code: 0, out: "local is eaten\n" });
  const no = await ctm("bake eat", { answer: "y" });
  expect(no).toMatchObject({ code: 2, out: "" });
  expect(no.err).toContain("not-confirmed: the answer was not yes; nothing was changed\n");
});

test("an interrupted command ends what it began, then exits 130", async () => {
  const interrupts = new Interrupts();
  const running = ctm("burn waiting --json", { interrupts });
  setImmediate(() => interrupts.receive("SIGINT"));
  expect(await running).toEqual({
    code: 130,
    out: '{"error":{"code":"interrupted","message":"stopped by a signal before it was done","next":null}}\n',
    err: "",
  });
});

test("an interrupted command that must not be left in its middle ends it, and says how things stand", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  try {
    const interrupts = new Interrupts();
    const begun = once(oven, "begun");
    const running = ctm("burn mending", { interrupts });
    await begun;
    interrupts.receive("SIGINT");
    await vi.advanceTimersByTimeAsync(60_000);
    oven.emit("mended");
    expect(await running).toEqual({
      code: 130,
      out: "",
      err: "interrupted: the oven is whole again\n",
    });
  } finally {
    vi.useRealTimers();
  }
});

test("help shows flags, an example and the shape of the document", async () => {
  const { code, out } = await ctm("bake --help");
  expect(code).toBe(0);
  expect(out).toMatch(/^Usage: ctm bake \[options\] \[KIND\]\n/);
  expect(out).toContain("  # three layers\n  ctm bake cheese --layers 3\n");
  expect(out).toContain("{ kind: string | null, layers: integer, top: [string] }");
  expect((await ctm("help bake")).out).toBe(out);
  expect(JSON.parse((await ctm("bake --help --json")).out)).toEqual({ help: out.trimEnd() });
});

test("help of a group lists its commands", async () => {
  expect((await ctm("key --help")).out).toContain("  key list  lists\n");
  expect((await ctm("--help")).out).toContain("  bake eat  eats\n");
});
