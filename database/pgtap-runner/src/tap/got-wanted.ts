/** What an assertion got and wanted, as far as pgTAP's diagnostics tell. */
export interface Difference {
  got: readonly string[];
  wanted: readonly string[];
  /** The other lines, in their order, without pgTAP's "Failed test" line. */
  rest: readonly string[];
}

type Side = "got" | "wanted";

/** pgTAP's labels: have and want of is() and its like, caught and wanted of throws_ok(). */
const labels: readonly [RegExp, Side][] = [
  [/^\s+(?:have|caught):( .*|)$/, "got"],
  [/^\s+(?:want|wanted):( .*|)$/, "wanted"],
];

/** The lists of set_eq(), tables_are() and many others. */
const lists: readonly [RegExp, Side][] = [
  [/^\s+(?:Extra|Unexpected) .*:$/, "got"],
  [/^\s+Missing .*:$/, "wanted"],
];

/** Reads the diagnostics of a failed assertion. */
export function readDifference(diagnostics: readonly string[]): Difference {
  const got: string[] = [];
  const wanted: string[] = [];
  const rest: string[] = [];
  const sides = { got, wanted };
  let side: Side | undefined;
  let inList = false;
  for (const line of diagnostics) {
    if (/^Failed (\(TODO\) )?test \d+/.test(line)) continue;
    const label = find(labels, line);
    const list = find(lists, line);
    if (label !== undefined) {
      side = label.side;
      inList = false;
      sides[side].push((label.text ?? "").replace(/^ /, ""));
    } else if (list !== undefined) {
      side = list.side;
      inList = true;
    } else if (side !== undefined && inList && /^\s{8}/.test(line)) {
      sides[side].push(line.trim());
    } else if (side !== undefined && !inList) {
      // A value of several lines goes on: only its first line has a label.
      sides[side].push(line);
    } else {
      side = undefined;
      rest.push(line);
    }
  }
  return { got, wanted, rest };
}

function find(
  patterns: readonly [RegExp, Side][],
  line: string,
): { side: Side; text: string | undefined } | undefined {
  for (const [pattern, side] of patterns) {
    const match = pattern.exec(line);
    if (match !== null) return { side, text: match[1] };
  }
  return undefined;
}

/** One line of a diff. */
export interface DiffLine {
  kind: "same" | "wanted" | "got";
  text: string;
}

/** Longer texts are shown one after the other, since comparing them takes the square of lines. */
const mostLines = 500;

/** The lines of both texts, with what is common shown once. */
export function diffLines(wanted: readonly string[], got: readonly string[]): DiffLine[] {
  const asWanted = (text: string): DiffLine => ({ kind: "wanted", text });
  const asGot = (text: string): DiffLine => ({ kind: "got", text });
  if (wanted.length > mostLines || got.length > mostLines) {
    return [...wanted.map(asWanted), ...got.map(asGot)];
  }
  // lengths[i][j]: the longest common sequence of wanted from i on and got from j on.
  const lengths = Array.from({ length: wanted.length + 1 }, () =>
    Array.from({ length: got.length + 1 }, () => 0),
  );
  const common = (i: number, j: number): number => lengths[i]?.[j] ?? 0;
  for (let i = wanted.length - 1; i >= 0; i--) {
    for (let j = got.length - 1; j >= 0; j--) {
      const row = lengths[i];
      if (row === undefined) continue;
      row[j] =
        wanted[i] === got[j]
          ? common(i + 1, j + 1) + 1
          : Math.max(common(i + 1, j), common(i, j + 1));
    }
  }
  const lines: DiffLine[] = [];
  let i = 0;
  let j = 0;
  while (i < wanted.length || j < got.length) {
    const left = wanted[i];
    const right = got[j];
    if (left !== undefined && left === right) {
      lines.push({ kind: "same", text: left });
      i += 1;
      j += 1;
    } else if (
      left !== undefined &&
      (right === undefined || common(i + 1, j) >= common(i, j + 1))
    ) {
      lines.push(asWanted(left));
      i += 1;
    } else {
      lines.push(asGot(right ?? ""));
      j += 1;
    }
  }
  return lines;
}
