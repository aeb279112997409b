import { expect, test } from "vitest";
import type { Entry } from "../commands.ts";
import { runCommand } from "../testing/run-command.ts";
import { command } from "./index.ts";

const entries: Entry[] = [
  { name: "restore", summary: "restores", load: async () => Promise.resolve({ command }) },
];

test.each([
  ["", "one of --to, --before-drop, --undo and --confirm is needed, or --into with --table"],
  ["--to latest --undo", "--to and --undo do not go together"],
  ["--undo --plan --yes", "--plan is for --to and --before-drop: it touches nothing"],
  ["--confirm --plan --yes", "--plan is for --to and --before-drop: it touches nothing"],
  ["--into /a --table t --plan", "--plan is for --to and --before-drop: it touches nothing"],
  ["--undo --into /a --yes", "--into and --undo do not go together"],
  ["--to latest --table t", "--table needs --into, the scratch instance to copy from"],
  ["--to latest --into /a --as other", "--as needs --table"],
  ["--to latest --into relative", '--into "relative" is not an absolute path'],
  ["--to latest --into /a --table a.b.c", '--table "a.b.c" is no table'],
])("ctm restore %s is refused before anything is looked at", async (line, what) => {
  const words = line.split(" ").filter((word) => word !== "");
  const ended = await runCommand(["restore", ...words], { CTM_HOME: "/nonexistent" }, entries);
  expect(ended).toEqual({
    code: 2,
    out: "",
    err: `bad-usage: ${what}\nnext: ctm restore --help\n`,
  });
});
