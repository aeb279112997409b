import { DatabaseError } from "pg";
import { RunnerError, messageOf } from "../errors.ts";
import type { ConnectionSettings } from "./connection-settings.ts";
import { ConnectionLost, Session } from "./session.ts";

/** SQLSTATE. */
const tooManyConnections = "53300";

/**
 * Connections to the maintenance database, from which the tested database can be copied. There is
 * one for each thing under way, since creating and dropping databases wait for the disk.
 */
export class Administrator {
  readonly settings: ConnectionSettings;
  /** The maintenance database. */
  readonly database: string;
  readonly #applicationName: string;
  readonly #idle: Session[] = [];

  private constructor(settings: ConnectionSettings, database: string, applicationName: string) {
    this.settings = settings;
    this.database = database;
    this.#applicationName = applicationName;
  }

  /**
   * Connects to the named maintenance database, or to the first of `postgres` and `template1` that
   * is not the tested one.
   *
   * @throws RunnerError `connection-failed`
   */
  static async connect(
    settings: ConnectionSettings,
    applicationName: string,
  ): Promise<Administrator> {
    const candidates =
      settings.maintenanceDatabase === undefined
        ? ["postgres", "template1"].filter((name) => name !== settings.database)
        : [settings.maintenanceDatabase];
    for (const [index, database] of candidates.entries()) {
      const administrator = new Administrator(settings, database, applicationName);
      try {
        administrator.#idle.push(await Session.connect(settings, database, applicationName));
        return administrator;
      } catch (error) {
        const missing = messageOf(error).includes("does not exist");
        if (!missing || index === candidates.length - 1) throw error;
      }
    }
    throw new RunnerError("connection-failed", "there is no maintenance database");
  }

  /** Runs something on a connection of its own. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#take();
    try {
      return await work(session);
    } finally {
      // One is kept: the server may have few connections to give, and tests need them.
      if (session.lost === undefined && this.#idle.length === 0) this.#idle.push(session);
      else await session.close();
    }
  }

  async #take(): Promise<Session> {
    for (let session = this.#idle.pop(); session !== undefined; session = this.#idle.pop()) {
      if (session.lost === undefined) return session;
    }
    return Session.connect(this.settings, this.database, this.#applicationName);
  }

  /** @throws SqlError, ConnectionLost, RunnerError `connection-failed`, `connection-refused` */
  rows(text: string): Promise<(string | null)[][]> {
    return this.use((session) => session.rows(text));
  }

  async close(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((session) => session.close()));
  }
}

export function isTooManyConnections(error: unknown): boolean {
  return (
    error instanceof RunnerError &&
    error.cause instanceof DatabaseError &&
    error.cause.code === tooManyConnections
  );
}

/** It failed because the server is not there, which may change. */
export function isConnectionProblem(error: unknown): boolean {
  return (
    error instanceof ConnectionLost ||
    (error instanceof RunnerError && error.code === "connection-failed")
  );
}
