/** How a run is going, so far. */
export interface Progress {
  /** Workers that are there or have been sent for. */
  workers: number;
  /** Workers that have a place to run files in. */
  placed: number;
  /** Since the first of them had it, in milliseconds. */
  runningMs: number;
  /** Least time that making a place took, in milliseconds. */
  placeMs: number;
  finishedFiles: number;
  waitingFiles: number;
}

/** Before so much of the time that a place takes, files still tell how long the first ones take. */
const warmUp = 1 / 4;

/**
 * What is left has to be so many times what a place takes. Once would be even, were it free: but it
 * takes processors from those who run files, and is dropped in the end.
 */
const margin = 2;

/**
 * Whether one more worker is worth its place. A copy of the database may take longer to make than
 * what is left to run: then those who are there are done sooner without it.
 */
export function oneMorePays(progress: Progress): boolean {
  const { workers, placed, runningMs, placeMs, finishedFiles, waitingFiles } = progress;
  if (placed === 0 || waitingFiles === 0 || runningMs < placeMs * warmUp) return false;
  const fileMs = (runningMs * placed) / Math.max(1, finishedFiles);
  return (fileMs * waitingFiles) / workers > placeMs * margin;
}
