// `npm run bench -- NAME [ARGS]`: measurements that people start and look at. Nothing here is
// asserted by `npm test`; the numbers stand in docs/decisions with the machine they come from.
import { CtmError, messageOf } from "#system";

/** A measurement; it prints its own tables and cleans up after itself. */
interface Bench {
  does: string;
  /** Imported when called: one bench must not need what another does. */
  run(args: readonly string[]): Promise<void>;
}

const benches: Readonly<Record<string, Bench>> = {
  up: {
    does: "npm run up on an empty home, and again with nothing changed, beside a program of no-ops",
    run: async (args) => (await import("./up.ts")).benchUp(args),
  },
  edge: {
    does: "what the edge's rules block of other people's attacks; --misses lists what they miss",
    run: async (args) => (await import("./edge.ts")).benchEdge(args),
  },
  database: {
    does: "the schema beside the document's own, untuned: writes, retention, dependency tree, guarded log",
    run: async (args) => (await import("./database.ts")).benchDatabase(args),
  },
  backup: {
    does: "backups and restores beside bare pgBackRest, predictions beside measurements",
    run: async (args) => (await import("./backup.ts")).benchBackup(args),
  },
  pgtap: {
    does: "pgtap-runner beside pg_prove",
    run: async () => (await import("./pgtap.ts")).benchPgtap(),
  },
};

function listing(): string {
  const width = Math.max(...Object.keys(benches).map((name) => name.length));
  return Object.entries(benches)
    .map(([name, { does }]) => `  ${name.padEnd(width)}  ${does}`)
    .join("\n");
}

const [name = "", ...args] = process.argv.slice(2);
try {
  const bench = benches[name];
  if (bench === undefined) {
    throw new CtmError(
      "bad-usage",
      `${name === "" ? "no bench is named" : `there is no bench "${name}"`}; there are:\n${listing()}`,
      { next: "npm run bench -- up", exitCode: 2 },
    );
  }
  await bench.run(args);
} catch (error) {
  console.error(error instanceof CtmError ? error.text : error);
  process.exitCode = error instanceof CtmError ? error.exitCode : 1;
  if (!(error instanceof Error)) console.error(messageOf(error));
}
