import type { ProgramState } from "#runtime";

/** A standby as it is seen at one moment. */
export interface StandbySight {
  name: string;
  /** Patroni's word for its state; undefined while Patroni does not know it. */
  state: string | undefined;
  /** Its Patroni under supervisord; undefined where supervisord does not say. */
  program: ProgramState | undefined;
}

/** Patroni tries again every five seconds (loop_wait): so many tries have failed by then. */
const failingLongMs = 60_000;
/** A clone that fails is begun anew; one may have met a restart of the leader, three have not. */
const mostClones = 3;

/** Patroni's words for a server that runs or is being made (3.0.2, patroni/postgresql). */
const comes = ["running", "streaming", "creating replica"];
/** A crash may be replayed for hours before the server says anything else. */
const undecided = ["starting", "restarting"];

interface Known {
  state: string;
  at: number;
  /** How long it was seen to fail since it last came. */
  failingMs: number;
  failedClones: number;
}

/**
 * Tells a standby that cannot come from one that is slow. Copying, replaying and starting take hours
 * where there is much; a server that Patroni fails to start again and again does not come.
 *
 * @returns what to call with each look; it says which one cannot come and why, undefined while all may
 */
export function watchStandbys(): (
  sights: readonly StandbySight[],
  nowMs: number,
) => { name: string; why: string } | undefined {
  const known = new Map<string, Known>();
  return (sights, nowMs) => {
    for (const sight of sights) {
      const { name } = sight;
      const state = stateOf(sight);
      const before = known.get(name) ?? { state, at: nowMs, failingMs: 0, failedClones: 0 };
      const after = { ...before, state, at: nowMs };
      if (comes.includes(state)) after.failingMs = 0;
      else if (!undecided.includes(state)) {
        after.failingMs += nowMs - before.at;
        if (before.state === "creating replica") after.failedClones += 1;
      }
      known.set(name, after);
      if (after.failedClones >= mostClones) {
        return { name, why: `copying the leader's data failed ${after.failedClones} times` };
      }
      if (after.failingMs >= failingLongMs) {
        return { name, why: `"${state}" for ${Math.round(after.failingMs / 1000)} s` };
      }
    }
    return undefined;
  };
}

/** What Patroni said last stands in etcd for a while after Patroni has ended. */
function stateOf({ state, program }: StandbySight): string {
  if (program !== undefined && program !== "RUNNING" && program !== "STARTING") {
    return `Patroni ${program}`;
  }
  return state ?? "unknown";
}
