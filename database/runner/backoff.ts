const shortestMs = 250;
const longestMs = 15_000;

/**
 * How long to pause after an attempt, in milliseconds: exponential, with full jitter so that two
 * programs do not meet again and again.
 *
 * @param attempt counted from 1
 */
export function pauseMs(attempt: number): number {
  const ceiling = Math.min(longestMs, shortestMs * 2 ** attempt);
  return Math.round(shortestMs + Math.random() * (ceiling - shortestMs));
}
