/** The part of psql's `\pset` that shapes unaligned output; the rest is psql's own business. */
export interface PrintOptions {
  tuplesOnly: boolean;
  fieldSeparator: string;
  recordSeparator: string;
  nullText: string;
  footer: boolean;
  title: string | undefined;
}

export const pgProveOptions: Readonly<PrintOptions> = {
  tuplesOnly: true,
  fieldSeparator: "|",
  recordSeparator: "\n",
  nullText: "",
  footer: true,
  title: undefined,
};

/** Writes one result as `psql --no-align` does, row by row. */
export class UnalignedPrinter {
  readonly #options: PrintOptions;
  readonly #write: (text: string) => void;
  #pending = "";
  #separate = false;
  #rows = 0;

  constructor(options: PrintOptions, write: (text: string) => void) {
    this.#options = { ...options };
    this.#write = write;
  }

  start(columns: readonly string[]): void {
    const { tuplesOnly, title, recordSeparator, fieldSeparator } = this.#options;
    if (tuplesOnly) return;
    if (title !== undefined) this.#pending += `${title}${recordSeparator}`;
    this.#record(columns.join(fieldSeparator));
  }

  row(values: readonly (string | null)[]): void {
    this.#rows += 1;
    // psql writes nothing for a row without columns.
    if (values.length === 0) return;
    const { nullText, fieldSeparator } = this.#options;
    this.#record(
      values.length === 1
        ? (values[0] ?? nullText)
        : values.map((value) => value ?? nullText).join(fieldSeparator),
    );
  }

  end(): void {
    const { tuplesOnly, footer, recordSeparator } = this.#options;
    if (!tuplesOnly && footer) this.#record(this.#rows === 1 ? "(1 row)" : `(${this.#rows} rows)`);
    // The last record ends with a newline, whatever the separator; with a zero byte only if that
    // is the separator.
    if (this.#separate) this.#pending += recordSeparator === "\0" ? "\0" : "\n";
    if (this.#pending !== "") this.#write(this.#pending);
    this.#pending = "";
  }

  #record(text: string): void {
    this.#pending += this.#separate ? this.#options.recordSeparator + text : text;
    this.#separate = true;
    // A long result is passed on in parts, a short one as a whole.
    if (this.#pending.length < 16_384) return;
    this.#write(this.#pending);
    this.#pending = "";
  }
}
