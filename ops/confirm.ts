import { createInterface } from "node:readline/promises";
import type { Readable, Writable } from "node:stream";
import { CtmError } from "#system";

export interface Question {
  /** What will happen, shown before the question. */
  plan: string;
  /** `--yes` was given. */
  yes: boolean;
  input: Readable & { isTTY?: boolean };
  /** Standard error: standard output is for the result. */
  output: Writable & { isTTY?: boolean };
  signal: AbortSignal;
}

/**
 * Shows the plan and asks for the word `yes`. Only a terminal can be asked.
 *
 * @throws CtmError `confirmation-needed`, `not-confirmed`; nothing was changed, exit 2
 */
export async function confirm(question: Question): Promise<void> {
  const { plan, yes, input, output, signal } = question;
  output.write(`${plan}\n`);
  if (yes) return;
  if (input.isTTY !== true || output.isTTY !== true) {
    throw new CtmError("confirmation-needed", "there is no terminal to ask; nothing was changed", {
      next: "run it again with --yes",
      exitCode: 2,
    });
  }
  const lines = createInterface({ input, output });
  // A closed input (Ctrl-D) must end the question, which readline alone leaves open.
  const closed = new Promise<string>((resolve) => lines.once("close", () => resolve("")));
  try {
    const answer = await Promise.race([lines.question("Type yes to go on: ", { signal }), closed]);
    // Ctrl-C and Ctrl-D leave the cursor behind the question.
    if (answer === "") output.write("\n");
    if (answer.trim().toLowerCase() !== "yes") {
      throw new CtmError("not-confirmed", "the answer was not yes; nothing was changed", {
        exitCode: 2,
      });
    }
  } finally {
    lines.close();
  }
}
