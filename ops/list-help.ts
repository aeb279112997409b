import type { Entry } from "./commands.ts";

/** The list of commands, or of those whose name begins with `group`. */
export function listHelp(entries: readonly Entry[], group = ""): string {
  const shown = entries.filter(({ name }) => group === "" || `${name} `.startsWith(`${group} `));
  const width = Math.max(...shown.map(({ name }) => name.length));
  const lines = shown.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  const example = shown.find(({ name }) => name === "status") ?? shown[0];
  return [
    `Usage: ctm ${group === "" ? "" : `${group} `}COMMAND [FLAGS]`,
    "",
    ...(group === "" ? ["The database platform of the task manager.", ""] : []),
    "Commands:",
    ...lines,
    "",
    "Flags of every command:",
    "  --stack NAME  which stack (default $CTM_STACK, else local)",
    "  --json        one JSON document on standard output, and nothing else there",
    "  --help        what the command does, with an example",
    "",
    "Exit codes: 0 done, 1 failed, 2 wrong usage or refused, 3 a check found a problem.",
    ...(example === undefined ? [] : ["", `Example: ctm ${example.name} --json`]),
  ].join("\n");
}
