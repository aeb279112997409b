import { setTimeout as delay } from "node:timers/promises";
import { RunnerError } from "../errors.ts";
import type { ScriptOptions } from "../psql/script.ts";
import { isConnectionProblem, isTooManyConnections } from "../server/administrator.ts";
import type { ConnectionSettings } from "../server/connection-settings.ts";
import { Session } from "../server/session.ts";
import { Clones } from "./clones.ts";
import { takeShortcuts } from "./shortcuts.ts";
import { type Preparation, prepareTemplate } from "./prepare-template.ts";

/** Where files run: a database and a session in it. */
export interface Place {
  database: string;
  session: Session;
  /** A file has run here. */
  used: boolean;
  /** The session has pgTAP's counters, which plan() would create otherwise. */
  counters: boolean;
}

export interface PlacesOptions {
  isolation: "clones" | "in-place";
  preparation: Preparation;
  /** Leave pgTAP's functions in the copies as they are. */
  stockPgtap: boolean;
  /** How long a server that went away is waited for. */
  reconnectTimeoutMs: number;
  signal: AbortSignal;
}

/** So many copies may wait to be dropped: dropping some at once takes hardly longer than one. */
const dropTogether = 8;

const mostAttempts = 10;

/** Hands out places to workers, on copies of the tested database or in itself. */
export class Places {
  readonly #settings: ConnectionSettings;
  readonly #options: PlacesOptions;
  /** undefined: in place. */
  readonly #clones: Clones | undefined;
  readonly skip: ScriptOptions["skip"];
  #discarded: string[] = [];
  #dropping: Promise<unknown> = Promise.resolve();

  private constructor(
    settings: ConnectionSettings,
    options: PlacesOptions,
    clones: Clones | undefined,
    skip: ScriptOptions["skip"],
  ) {
    this.#settings = settings;
    this.#options = options;
    this.#clones = clones;
    this.skip = skip;
  }

  /** @throws RunnerError when the server or the database is not there, or the template fails */
  static async open(settings: ConnectionSettings, options: PlacesOptions): Promise<Places> {
    const { preparation, isolation } = options;
    if (isolation === "in-place") {
      const changes = preparation.load.length > 0 || preparation.assertions;
      if (changes || preparation.pgtap !== undefined) {
        throw new RunnerError("in-place-load", "loading SQL in place would change the database", {
          exitCode: 2,
          next: "leave out --in-place, or load it there yourself",
        });
      }
      return new Places(settings, options, undefined, undefined);
    }
    const clones = await Clones.open(settings);
    try {
      const prepared = await prepareTemplate(clones, settings, preparation);
      return new Places(settings, options, prepared.clones, prepared.skip);
    } catch (error) {
      await clones.close();
      throw error;
    }
  }

  /**
   * A new place. A server that went away is given time to come back.
   *
   * @throws RunnerError, ConnectionLost
   */
  async take(): Promise<Place> {
    let database: string | undefined;
    for (let attempt = 1; ; attempt++) {
      try {
        database ??= (await this.#clones?.create()) ?? this.#settings.database;
        const session = await Session.connect(this.#settings, database, "pgtap-runner");
        const shorten = this.#clones !== undefined && !this.#options.stockPgtap;
        const counters = shorten && (await takeShortcuts(session));
        return { database, session, used: false, counters };
      } catch (error) {
        // Connections used to make copies are closed soon: that may be all there is to it.
        if (isTooManyConnections(error) && attempt < mostAttempts) await delay(attempt * 20);
        else if (!isConnectionProblem(error) || !(await this.#untilReachable())) throw error;
      }
    }
  }

  /** Gives a place back whose database must not be used again. */
  async discard(place: Place): Promise<void> {
    await place.session.close();
    if (this.#clones === undefined) return;
    this.#discarded.push(place.database);
    if (this.#discarded.length < dropTogether) return;
    const names = this.#discarded.splice(0);
    const clones = this.#clones;
    // What could not be dropped now is tried again, and reported, in the end.
    const drop = Promise.allSettled(names.map((name) => clones.drop(name)));
    this.#dropping = Promise.all([this.#dropping, drop]);
  }

  /**
   * Drops every copy.
   *
   * @returns what could not be dropped, with the reason
   */
  async close(): Promise<string[]> {
    await this.#dropping;
    return (await this.#clones?.close()) ?? [];
  }

  async #untilReachable(): Promise<boolean> {
    const { reconnectTimeoutMs, signal } = this.#options;
    if (signal.aborted) return false;
    const database = this.#clones?.administrator.database ?? this.#settings.database;
    return Session.untilReachable(this.#settings, database, reconnectTimeoutMs, signal);
  }
}
