import { stripVTControlCharacters } from "node:util";

/** Colours where they can be seen, the plain text elsewhere; and the width to write for. */
export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  warning(text: string): string;
  bad(text: string): string;
  /** Characters in a line. */
  readonly columns: number;
}

/** Width where there is no terminal to ask. */
const plainColumns = 100;

/** Colour only on a terminal, and not with NO_COLOR (https://no-color.org) or a dumb terminal. */
export function createPaint(
  stream: { isTTY?: boolean; columns?: number },
  env: NodeJS.ProcessEnv,
): Paint {
  const terminal = stream.isTTY === true;
  const coloured = terminal && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
  const wrap =
    (open: number, close: number) =>
    (text: string): string =>
      coloured && text !== "" ? `\u001b[${open}m${text}\u001b[${close}m` : text;
  return {
    bold: wrap(1, 22),
    dim: wrap(2, 22),
    good: wrap(32, 39),
    warning: wrap(33, 39),
    bad: wrap(31, 39),
    columns: terminal ? (stream.columns ?? plainColumns) : plainColumns,
  };
}

/** Rows in aligned columns, two spaces apart; the first row is the heading. */
export function table(rows: readonly (readonly string[])[], paint: Paint): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, visibleWidth(cell));
    }
  }
  const lines = rows.map((row) =>
    row
      .map((cell, index) => cell + " ".repeat((widths[index] ?? 0) - visibleWidth(cell)))
      .join("  ")
      .trimEnd(),
  );
  return lines.map((line, index) => (index === 0 ? paint.dim(line) : line)).join("\n");
}

function visibleWidth(text: string): number {
  return stripVTControlCharacters(text).length;
}
