import { keptOutputLines, type OutputLine } from "../results.ts";

/** The last lines of a file's output, so that memory does not depend on how much it says. */
export class OutputLog {
  readonly #lines: OutputLine[] = [];
  #omitted = 0;

  add(line: OutputLine): void {
    this.#lines.push(line);
    // Trimmed in batches: shifting an array for each line is slow.
    if (this.#lines.length < keptOutputLines * 2) return;
    this.#omitted += this.#lines.length - keptOutputLines;
    this.#lines.splice(0, this.#lines.length - keptOutputLines);
  }

  get lines(): OutputLine[] {
    return this.#lines.slice(-keptOutputLines);
  }

  get omitted(): number {
    return this.#omitted + Math.max(0, this.#lines.length - keptOutputLines);
  }
}
