import type { Location } from "./query-buffer.ts";

/** The script uses something of psql that is not done here: psql has to run it. */
export class NeedsPsql extends Error {
  readonly location: Location | undefined;

  constructor(what: string, location: Location | undefined) {
    super(what);
    this.location = location;
  }
}
