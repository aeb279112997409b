import type { Command } from "./command.ts";

/** A command before it is loaded: enough for the list in `ctm --help`. */
export interface Entry {
  /** One or two words, as they are typed. */
  name: string;
  summary: string;
  load: () => Promise<{ command: Command }>;
}

/** Every command, in the order of the help. Each is imported only when it is called. */
export const commands: readonly Entry[] = [
  {
    name: "up",
    summary: "provision or repair the whole platform",
    load: () => import("./up/index.ts"),
  },
  {
    name: "down",
    summary: "take a stack away, keeping its backups",
    load: () => import("./down/index.ts"),
  },
  {
    name: "env",
    summary: "what a shell needs for plain pulumi",
    load: () => import("./env/index.ts"),
  },
  {
    name: "status",
    summary: "how the stack is, on one screen",
    load: () => import("./status/index.ts"),
  },
  {
    name: "start",
    summary: "start the stack's processes",
    load: () => import("./start/index.ts"),
  },
  {
    name: "stop",
    summary: "stop the stack's processes",
    load: () => import("./stop/index.ts"),
  },
  {
    name: "psql",
    summary: "psql on the primary, as the database's owner",
    load: () => import("./psql/index.ts"),
  },
  {
    name: "migrate status",
    summary: "the migrations that are applied, and those pending",
    load: () => import("./migrate/status.ts"),
  },
  {
    name: "migrate plan",
    summary: "what the pending migrations would do, and lock",
    load: () => import("./migrate/plan.ts"),
  },
  {
    name: "migrate up",
    summary: "apply the pending migrations",
    load: () => import("./migrate/up.ts"),
  },
  {
    name: "migrate verify",
    summary: "whether the schema is what the migrations make",
    load: () => import("./migrate/verify.ts"),
  },
  {
    name: "migrate new",
    summary: "write an empty migration with the next number",
    load: () => import("./migrate/new.ts"),
  },
  {
    name: "check",
    summary: "what CI runs on a schema change",
    load: () => import("./check/index.ts"),
  },
  {
    name: "backup",
    summary: "take a backup: full, diff or incr",
    load: () => import("./backup/index.ts"),
  },
  {
    name: "backup list",
    summary: "the backups, and the window that can be recovered",
    load: () => import("./backup/list.ts"),
  },
  {
    name: "backup audit",
    summary: "whether WAL is missing that a restore would need",
    load: () => import("./backup/audit.ts"),
  },
  {
    name: "backup verify",
    summary: "whether every stored file is there, and what it was",
    load: () => import("./backup/verify.ts"),
  },
  {
    name: "backup passphrase",
    summary: "the escrow: what a blank machine needs to read the backups",
    load: () => import("./backup/passphrase.ts"),
  },
  {
    name: "restore",
    summary: "go back to a moment, in place; with a plan, and an undo",
    load: () => import("./restore/index.ts"),
  },
  {
    name: "restore list",
    summary: "the scratch instances, and when they expire",
    load: () => import("./restore/list.ts"),
  },
  {
    name: "restore remove",
    summary: "take scratch instances away",
    load: () => import("./restore/remove.ts"),
  },
  {
    name: "restore machine",
    summary: "a lost stack anew, from its far copy and its escrow",
    load: () => import("./restore/machine.ts"),
  },
  {
    name: "drill",
    summary: "a restore, proven from end to end",
    load: () => import("./drill/index.ts"),
  },
  {
    name: "key create",
    summary: "make an API key",
    load: () => import("./key/create.ts"),
  },
  {
    name: "key list",
    summary: "the API keys, and when they were used",
    load: () => import("./key/list.ts"),
  },
  {
    name: "key rotate",
    summary: "replace an API key",
    load: () => import("./key/rotate.ts"),
  },
  {
    name: "key revoke",
    summary: "switch an API key off",
    load: () => import("./key/revoke.ts"),
  },
  {
    name: "logs",
    summary: "the log of one service",
    load: () => import("./logs/index.ts"),
  },
  {
    name: "edge status",
    summary: "Cloudflare as it is, against what is declared",
    load: () => import("./edge/status.ts"),
  },
  {
    name: "edge rotate-token",
    summary: "replace a service token, or the tunnel's secret",
    load: () => import("./edge/rotate-token.ts"),
  },
  {
    name: "edge test",
    summary: "harmless requests through the edge, answers checked",
    load: () => import("./edge/test.ts"),
  },
  {
    name: "edge lockdown",
    summary: "during an attack, let only some addresses through",
    load: () => import("./edge/lockdown.ts"),
  },
  {
    name: "edge simulate",
    summary: "what the rate limits would have stopped of a log",
    load: () => import("./edge/simulate.ts"),
  },
  {
    name: "doctor",
    summary: "what is wrong, and what to do",
    load: () => import("./doctor/index.ts"),
  },
];
