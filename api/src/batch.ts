/**
 * Collects entries and hands them on in batches, so that a request never waits for its own log.
 * What cannot be written is kept and tried again, up to `capacity` entries; then the oldest go.
 */
export class Batch<Entry> {
  readonly #write: (entries: Entry[]) => Promise<void>;
  readonly #options: { everyMs: number; size: number; capacity: number };
  readonly #report: (lost: number, error?: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  #waiting: Entry[] = [];
  #running: Promise<void> | undefined;

  /**
   * @param write writes a batch, or throws and so leaves it to be tried again
   * @param report told of each failed write, and how many entries were lost by it
   */
  constructor(
    write: (entries: Entry[]) => Promise<void>,
    report: (lost: number, error?: unknown) => void,
    options: { everyMs: number; size: number; capacity: number },
  ) {
    this.#write = write;
    this.#report = report;
    this.#options = options;
    this.#timer = setInterval(() => void this.#flush(), options.everyMs);
    this.#timer.unref();
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  add(entry: Entry): void {
    this.#waiting.push(entry);
    const { size, capacity } = this.#options;
    if (this.#waiting.length > capacity) {
      this.#report(this.#waiting.splice(0, this.#waiting.length - capacity).length);
    }
    if (this.#waiting.length === size) void this.#flush();
  }

  /** Writes what is waiting and stops collecting; what a last try cannot write is lost. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
    await this.#flush();
    if (this.#waiting.length > 0) this.#report(this.#waiting.length);
  }

  async #flush(): Promise<void> {
    this.#running ??= this.#writeAll().finally(() => (this.#running = undefined));
    await this.#running;
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const entries = this.#waiting.splice(0, this.#options.size);
      try {
        await this.#write(entries);
      } catch (error) {
        const room = this.#options.capacity - this.#waiting.length;
        this.#waiting.unshift(...entries.slice(Math.max(0, entries.length - room)));
        this.#report(Math.max(0, entries.length - room), error);
        return;
      }
    }
  }
}
