import type { Command } from "./command.ts";

/** A command before it is loaded: enough for the list in `ctm --help`. */
export interface Entry {
  /** One or two words, as they are typed. */
  name: string;
  summary: string;
  load(): Promise<{ command: Command }>;
}

/** Every command, in the order of the help. Each is imported only when it is called. */
export const commands: readonly Entry[] = [
  {
    name: "status",
    summary: "how the stack is, on one screen",
    load: () => import("./status/index.ts"),
  },
  {
    name: "psql",
    summary: "psql on the primary, as the database's owner",
    load: () => import("./psql/index.ts"),
  },
  {
    name: "logs",
    summary: "the log of one service",
    load: () => import("./logs/index.ts"),
  },
];
