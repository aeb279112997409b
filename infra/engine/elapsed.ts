/** How long ago that was, for people: "45 s", "8 min 5 s". */
export function elapsedSince(startedMs: number): string {
  const seconds = Math.round((Date.now() - startedMs) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** How often a long step says that it is still at work. */
export const progressIntervalMs = 30_000;
