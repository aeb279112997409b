import type { ReportLine, Tone } from "./format.ts";

const codes: Readonly<Record<Tone, string>> = {
  good: "32",
  bad: "31",
  faint: "2",
  strong: "1",
  warning: "33",
  plain: "",
};

/** The lines as text, coloured or not. */
export function paintLines(lines: readonly ReportLine[], colour: boolean): string {
  return lines.map((line) => `${paint(line, colour)}\n`).join("");
}

function paint(line: ReportLine, colour: boolean): string {
  const code = codes[line.tone];
  return colour && code !== "" ? `\u001B[${code}m${line.text}\u001B[0m` : line.text;
}

/** Colour is for terminals, unless it is asked for, or NO_COLOR asks for none. */
export function wantsColour(values: {
  color?: boolean | undefined;
  "no-color"?: boolean | undefined;
}): boolean {
  if (values["no-color"] === true) return false;
  if (values.color === true) return true;
  return process.stdout.isTTY && (process.env["NO_COLOR"] ?? "") === "";
}
