import { setTimeout as delay } from "node:timers/promises";
import { CtmError, messageOf } from "./error.ts";

/**
 * Waits until `check` returns a value other than undefined, and returns that value.
 * A check that throws counts as "not yet"; its message is shown when the deadline passes.
 *
 * @param what the awaited condition, as it completes the sentence "waited for …"
 * @param timeoutMs deadline in milliseconds from now
 * @throws CtmError `deadline-passed`, naming the condition and the last state seen
 */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  check: () => T | undefined | Promise<T | undefined>,
  options: { intervalMs?: number; next?: string; lastState?: () => string } = {},
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last = "";
  for (;;) {
    try {
      const value = await check();
      if (value !== undefined) return value;
      last = "";
    } catch (error) {
      last = messageOf(error);
    }
    if (Date.now() >= deadline) {
      const state = options.lastState?.() ?? last;
      throw new CtmError(
        "deadline-passed",
        `waited ${Math.round(timeoutMs / 1000)} s for ${what}${state === "" ? "" : `; last seen: ${state}`}`,
        options.next === undefined ? {} : { next: options.next },
      );
    }
    await delay(Math.min(options.intervalMs ?? 200, Math.max(1, deadline - Date.now())));
  }
}
