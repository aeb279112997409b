export interface Lock {
  /** Give this to a child to keep the lock for as long as the child lives. */
  descriptor: number;
  release(): void;
}

/**
 * Takes the kernel's lock on a file, waiting as long as another process holds it. It is released
 * with the last process that holds the descriptor, however it died.
 *
 * @param path made when missing; its content is the holder's pid, for people only
 * @param onWait called once when another process holds the lock, with that process's pid
 */
export function takeLock(path: string, onWait: (holder: string) => void): Promise<Lock>;
