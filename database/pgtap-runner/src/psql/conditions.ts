import { MetaCommandError } from "./variables.ts";

type Branch = "taken" | "not-yet" | "ignored" | "else-taken" | "else-ignored";

interface Level {
  branch: Branch;
  /** What had been gathered when the branch began, to return to if it is not taken. */
  queryLength: number;
  parentheses: number;
}

/** The part of the statement that a branch may add to or have to give back. */
export interface PendingQuery {
  length: number;
  parentheses: number;
  restore(length: number, parentheses: number): void;
}

/** The nested `\if` … `\elif` … `\else` … `\endif` of one file. */
export class Conditions {
  readonly #levels: Level[] = [];

  get active(): boolean {
    const branch = this.#levels.at(-1)?.branch;
    return branch === undefined || branch === "taken" || branch === "else-taken";
  }

  get open(): boolean {
    return this.#levels.length > 0;
  }

  /** @param evaluate reads the expression; called in every case, so that it is consumed */
  if(pending: PendingQuery, evaluate: (active: boolean) => boolean): void {
    const active = this.active;
    const holds = evaluate(active);
    this.#levels.push({
      branch: active ? (holds ? "taken" : "not-yet") : "ignored",
      queryLength: pending.length,
      parentheses: pending.parentheses,
    });
  }

  elif(pending: PendingQuery, evaluate: (active: boolean) => boolean): void {
    const level = this.#top("elif");
    switch (level.branch) {
      case "taken":
        keep(level, pending);
        level.branch = "ignored";
        evaluate(false);
        return;
      case "not-yet":
        discard(level, pending);
        // The expression is read as in a branch that is taken, or it would find no variable.
        level.branch = "taken";
        if (!evaluate(true)) level.branch = "not-yet";
        return;
      case "ignored":
        discard(level, pending);
        evaluate(false);
        return;
      case "else-taken":
      case "else-ignored":
        throw new MetaCommandError("\\elif: cannot occur after \\else");
    }
  }

  else(pending: PendingQuery): void {
    const level = this.#top("else");
    switch (level.branch) {
      case "taken":
        keep(level, pending);
        level.branch = "else-ignored";
        return;
      case "not-yet":
        discard(level, pending);
        level.branch = "else-taken";
        return;
      case "ignored":
        discard(level, pending);
        level.branch = "else-ignored";
        return;
      case "else-taken":
      case "else-ignored":
        throw new MetaCommandError("\\else: cannot occur after \\else");
    }
  }

  endif(pending: PendingQuery): void {
    const level = this.#top("endif");
    if (level.branch !== "taken" && level.branch !== "else-taken") discard(level, pending);
    this.#levels.pop();
  }

  #top(command: string): Level {
    const level = this.#levels.at(-1);
    if (level === undefined) throw new MetaCommandError(`\\${command}: no matching \\if`);
    return level;
  }
}

/** What the branch gathered stays part of the statement. */
function keep(level: Level, pending: PendingQuery): void {
  level.queryLength = pending.length;
  level.parentheses = pending.parentheses;
}

function discard(level: Level, pending: PendingQuery): void {
  pending.restore(level.queryLength, level.parentheses);
}
