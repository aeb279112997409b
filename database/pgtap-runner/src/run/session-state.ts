import type { Problem } from "../results.ts";
import { quoteLiteral } from "../psql/scanner.ts";
import { countFromOne } from "./shortcuts.ts";
import type { Session } from "../server/session.ts";

/**
 * Settings that only change what is shown or logged. Leaving one changed cannot change what a
 * later test finds, and nearly every public suite sets the first outside its transaction.
 */
const harmlessSettings: ReadonlySet<string> = new Set([
  "client_min_messages",
  "application_name",
  "log_min_messages",
  "log_min_error_statement",
  "log_min_duration_statement",
  "log_statement",
  "log_duration",
  "log_error_verbosity",
]);

const settingPatterns: readonly RegExp[] = [
  /\bset_config\s*\(\s*'([^']+)'/gi,
  /\bset\s+(?:session\s+|local\s+)?"?([a-z_][\w$]*(?:"?\."?[a-z_][\w$]*)+)"?\s*(?:=|\bto\b)/gi,
];

/** Names of custom settings (`app.user`) that a text sets: the server does not list these. */
function customSettings(text: string): Set<string> {
  const names = new Set<string>();
  for (const pattern of settingPatterns) {
    for (const match of text.matchAll(pattern)) {
      const name = (match[1] ?? "").replace(/"/g, "").toLowerCase();
      if (/^[a-z_][\w$]*(\.[a-z_][\w$]*)+$/.test(name)) names.add(name);
    }
  }
  return names;
}

/** Makes the session as good as new, keeping what it costs time to rebuild (plans, caches). */
const reset = (counters: boolean): string =>
  [
    "RESET SESSION AUTHORIZATION",
    "RESET ROLE",
    "RESET ALL",
    "DEALLOCATE ALL",
    "CLOSE ALL",
    "UNLISTEN *",
    "SELECT NULL FROM pg_advisory_unlock_all()",
    // Where a temporary table may have stayed, the session is not used again.
    counters ? countFromOne : "DISCARD TEMP",
    "DISCARD SEQUENCES",
  ].join("; ");

/**
 * @param counters the session has pgTAP's counters, which stay
 * @throws ConnectionLost, SqlError
 */
export async function resetSession(session: Session, counters: boolean): Promise<void> {
  if (session.status !== "I") await session.rows("ROLLBACK");
  await session.rows(reset(counters));
}

/** Finds what files leave changed in their sessions. */
export class LeakFinder {
  readonly #allowed: ReadonlySet<string>;
  #ofFunctions: ReadonlySet<string> | undefined;

  /** @param allowed settings that may be left changed */
  constructor(allowed: readonly string[]) {
    this.#allowed = new Set(allowed.map((name) => name.toLowerCase()));
  }

  /**
   * Resets the session and tells what of it had been left changed.
   *
   * @param text of the file
   * @param counters the session has pgTAP's counters, which stay
   * @throws ConnectionLost, SqlError
   */
  async find(session: Session, text: string, counters: boolean): Promise<Problem[]> {
    if (session.status !== "I") await session.rows("ROLLBACK");
    const custom = await this.settingsToCheck(session, text);
    return this.problems(await readLeftovers(session, custom, counters));
  }

  /** The custom settings that a file sets, and those that functions of the database set. */
  async settingsToCheck(session: Session, text: string): Promise<Set<string>> {
    // Read once: the functions of the schema under test are the same for every file.
    this.#ofFunctions ??= customSettings(await functionSources(session));
    return new Set([...customSettings(text), ...this.#ofFunctions]);
  }

  problems(left: Leftovers): Problem[] {
    const problems: Problem[] = [];
    if (left.role !== left.ownRole) {
      problems.push({
        code: "role-leaked",
        message: `the session was left as ${left.role}, it began as ${left.ownRole}`,
        next: "use SET LOCAL ROLE inside the transaction, or RESET ROLE",
      });
    }
    for (const [name, value] of left.settings) {
      if (harmlessSettings.has(name) || this.#allowed.has(name.toLowerCase())) continue;
      problems.push({
        code: "setting-leaked",
        message: `the session was left with ${name} = ${quoteLiteral(value).trim()}`,
        next: `set it inside the transaction, reset it, or allow it: --allow-leak ${name}`,
      });
    }
    return problems;
  }
}

/** What a session was left with. */
export interface Leftovers {
  role: string;
  ownRole: string;
  /** Settings that differ from those of a new session. */
  settings: ReadonlyMap<string, string>;
}

async function functionSources(session: Session): Promise<string> {
  const rows = await session.rows(
    `SELECT prosrc FROM pg_proc
     WHERE pronamespace <> 'pg_catalog'::regnamespace
       AND prosrc ~* 'set.*[.]' AND length(prosrc) < 100000`,
  );
  return rows.map(([source]) => source ?? "").join("\n");
}

async function readLeftovers(
  session: Session,
  custom: ReadonlySet<string>,
  counters: boolean,
): Promise<Leftovers> {
  const values = custom.size === 0 ? "" : customValues(custom);
  // One exchange: the custom settings are read before and after, since only the difference tells
  // a setting of the file from one of the database or the role.
  const rows = await session.rows(
    [
      "SELECT 'role', session_user, current_user",
      `SELECT 'setting', name, setting FROM pg_settings
        WHERE source = 'session' AND setting IS DISTINCT FROM reset_val`,
      ...(values === "" ? [] : [`SELECT 'before', name, value FROM ${values}`]),
      reset(counters),
      "SELECT 'own role', session_user, current_user",
      ...(values === "" ? [] : [`SELECT 'after', name, value FROM ${values}`]),
    ].join("; "),
  );
  const row = (kind: string): (string | null)[] => rows.find(([first]) => first === kind) ?? [];
  const after = new Map(
    rows.filter(([kind]) => kind === "after").map(([, name, value]) => [name, value ?? ""]),
  );
  const settings = new Map<string, string>();
  for (const [kind, name, value] of rows) {
    const changed =
      kind === "setting" || (kind === "before" && (value ?? "") !== (after.get(name) ?? ""));
    if (changed) settings.set(name ?? "", value ?? "");
  }
  // A role may be left behind in two ways; what counts is what statements would run as.
  const [, sessionUser, currentUser] = row("role");
  const [, ownUser, ownRole] = row("own role");
  return {
    role: (currentUser === ownRole ? sessionUser : currentUser) ?? "",
    ownRole: (currentUser === ownRole ? ownUser : ownRole) ?? "",
    settings,
  };
}

function customValues(names: ReadonlySet<string>): string {
  const list = [...names].map((name) => quoteLiteral(name)).join(", ");
  return `(SELECT name, current_setting(name, true) AS value FROM unnest(ARRAY[${list}]) name) s`;
}
