import { readFileSync } from "node:fs";
import type { Session } from "../server/session.ts";

const shortcutsFile = new URL("../../sql/pgtap-shortcuts.sql", import.meta.url);

/** Has pgTAP's counters, which stay in the session, begin anew. */
export const countFromOne =
  "SELECT setval('pg_temp.__tcache___id_seq', 1, false), setval('pg_temp.__tresults___numb_seq', 1, false)";

/**
 * Only their owner may do with the counters what these do, and a file may call plan() under
 * another role than the session's.
 */
const ownersOnly = /runtests|check_test|_cleanup/i;

/** The file must find no counters in its session, so that its plan() creates them. */
export function needsOwnCounters(text: string): boolean {
  return ownersOnly.test(text);
}

/**
 * Makes pgTAP faster in a copy of the tested database, where it is one that we know and no test can
 * tell the difference.
 *
 * @returns true when the session has pgTAP's counters, so that plan() need not create them
 * @throws ConnectionLost, SqlError
 */
export async function takeShortcuts(session: Session): Promise<boolean> {
  const [row] = await session.rows(readFileSync(shortcutsFile, "utf8"));
  return row?.[0] === "t";
}
