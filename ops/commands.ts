import type { Command } from "./command.ts";

/** A command before it is loaded: enough for the list in `ctm --help`. */
export interface Entry {
  /** One or two words, as they are typed. */
  name: string;
  summary: string;
  load(): Promise<{ command: Command }>;
}

/** Every command, in the order of the help. Each is imported only when it is called. */
export const commands: readonly Entry[] = [];
