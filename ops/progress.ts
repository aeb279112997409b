/** What a command is doing now, for the person who waits: on standard error only. */
export interface Progress {
  /** A new step begins: "copying the data directory". */
  step(text: string): void;
  /** How far the step is: "45 %". Shown beside it; off a terminal at most every ten seconds. */
  detail(text: string): void;
  /** Removes what is shown; before anything else is written or asked. */
  clear(): void;
}

/** Work that takes less than this is not worth telling of. */
const quietMs = 2_000;
const spinnerMs = 100;
/** Off a terminal a long step says that it is alive this often: a log must stay readable. */
const heartbeatMs = 10_000;
const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

export interface ProgressStream {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/** Progress that stays silent for two seconds: then a spinner on a terminal, plain lines elsewhere. */
export function createProgress(stream: ProgressStream): Progress & { end(): void } {
  const terminal = stream.isTTY === true;
  const begun = Date.now();
  let step = "";
  let detail = "";
  let stepBegun = begun;
  let told = "";
  let toldAt = 0;
  let drawn = false;
  let frame = 0;
  let timer: NodeJS.Timeout | undefined;

  const erase = (): void => {
    if (drawn) stream.write("\r\u001b[K");
    drawn = false;
  };
  const draw = (): void => {
    const now = Date.now();
    if (step === "" || now - begun < quietMs) return;
    const seconds = Math.round((now - stepBegun) / 1000);
    const text = `${step}${detail === "" ? "" : `: ${detail}`}`;
    if (terminal) {
      frame = (frame + 1) % frames.length;
      const line = `${frames[frame]} ${text} (${seconds} s)`;
      stream.write(`\r\u001b[K${line.slice(0, (stream.columns ?? 80) - 1)}`);
      drawn = true;
    } else if (told !== step) {
      stream.write(`${text}\n`);
      told = step;
      toldAt = now;
    } else if (now - toldAt >= heartbeatMs) {
      stream.write(`${text} (${seconds} s)\n`);
      toldAt = now;
    }
  };
  return {
    step(text) {
      step = text;
      detail = "";
      stepBegun = Date.now();
      timer ??= setInterval(draw, terminal ? spinnerMs : 500).unref();
      draw();
    },
    detail(text) {
      detail = text;
    },
    clear() {
      erase();
      step = "";
    },
    end() {
      if (timer !== undefined) clearInterval(timer);
      timer = undefined;
      erase();
    },
  };
}
