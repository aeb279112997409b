// `npm run bench -- backup`: backups and restores beside bare pgBackRest, what a plan predicts beside
// what a restore takes, and how long planning and auditing take on a large archive.
import { mkdtemp, rm, chmod, writeFile } from "node:fs/promises";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { makeDirectory, run, runAs, waitFor } from "#system";
import { readRepository } from "../../ops/facts/repository.ts";
import { openStack } from "../../ops/open-stack.ts";
import { readArchive } from "../../ops/recovery/archive.ts";
import { auditArchive } from "../../ops/recovery/gaps.ts";
import { gather } from "../../ops/recovery/gather.ts";
import { startInstance, stopServer } from "../../ops/recovery/instance.ts";
import { locate } from "../../ops/recovery/locate.ts";
import { makePlan, type Plan } from "../../ops/recovery/plan.ts";
import { recordMeasurement } from "../../ops/recovery/rates.ts";
import { replay } from "../../ops/recovery/replay.ts";
import {
  backrestOptions,
  instanceDirectories,
  makeInstanceDirectory,
  restoreFiles,
  type RecoverySource,
} from "../../ops/recovery/restore-files.ts";
import { recoveryOf } from "../../ops/recovery/scratch.ts";
import { fakeBackup, fakeListing, minute } from "../../ops/recovery/testing/fake-listing.ts";
import { segmentName } from "../../ops/recovery/wal.ts";
import { startScratchStack, type ScratchStack } from "../../ops/testing/scratch-stack.ts";

/** Sizes of the database that are measured, in megabytes. */
const defaultSizes = [200, 600, 1500];
/** Of the rows, that are written again after a backup: WAL to replay. */
const rewritten = 0.5;
const rounds = 5;
/** The first is predicted from other sizes alone, the last from restores of its own size. */
const restoresOfOneSize = 4;
const longMs = 15 * 60_000;
const archiveSegments = 10_000;
const archiveBackups = 200;

const cli = fileURLToPath(new URL("../../ops/cli.ts", import.meta.url));

interface Row {
  what: string;
  ours: string;
  other: string;
  ratio: string;
  goal: string;
}

/** @param args sizes of the database in megabytes, growing; 200 600 1500 by default */
export async function benchBackup(args: readonly string[]): Promise<void> {
  const sizes = args.length === 0 ? defaultSizes : args.map(Number);
  const rows: Row[] = [];
  console.log(
    `${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)} at the start; medians of ${rounds} rounds`,
  );
  const folder = await mkdtemp("/tmp/ctm-bench-backup-");
  await chmod(folder, 0o711);
  const stack = await startScratchStack();
  try {
    const bench = await Bench.of(stack, folder);
    let rowsBefore = 0;
    for (const megabytes of sizes) {
      rowsBefore = await bench.grow(rowsBefore, megabytes);
      await bench.backup("full");
      await bench.rewrite(rewritten);
      for (let restore = 1; restore <= restoresOfOneSize; restore++) {
        rows.push(await bench.prediction(megabytes, restore));
      }
    }
    rows.push(await bench.backups(), await bench.restores(), ...(await bench.planning()));
  } finally {
    await stack.stop();
    await rm(folder, { recursive: true, force: true });
  }
  console.log(table(rows));
}

/** What was written before is on the disk: nobody pays for somebody else's writes. */
async function settle(): Promise<void> {
  await run("sync", [], { timeoutMs: longMs });
}

class Bench {
  readonly #stack: ScratchStack;
  readonly #folder: string;
  readonly #source: RecoverySource;
  readonly #asPostgres: Awaited<ReturnType<typeof runAs>>;
  #restored = 0;

  private constructor(
    stack: ScratchStack,
    folder: string,
    asPostgres: Awaited<ReturnType<typeof runAs>>,
  ) {
    this.#stack = stack;
    this.#folder = folder;
    this.#asPostgres = asPostgres;
    const { descriptor } = stack;
    this.#source = {
      configuration: descriptor.postgres.members[0]?.backrestConfiguration ?? "",
      stanza: descriptor.backup.stanza,
      user: descriptor.users.postgres,
    };
  }

  static async of(stack: ScratchStack, folder: string): Promise<Bench> {
    stack.patroni["/cluster"] = { members: [{ name: "node-1", role: "leader" }] };
    stack.patroni["/patroni"] = { state: "running", role: "master", timeline: 1 };
    await stack.sql("CREATE TABLE filler (n integer PRIMARY KEY, body text)");
    return new Bench(stack, folder, await runAs(stack.descriptor.users.postgres));
  }

  /** Adds rows of text that hardly compresses until the table has that size. */
  async grow(from: number, megabytes: number): Promise<number> {
    // A row takes 8 kB, most of it out of line and not compressed.
    const to = megabytes * 122;
    await this.#stack.sql("ALTER TABLE filler ALTER body SET STORAGE EXTERNAL");
    await this.#stack.sql(
      `INSERT INTO filler
       SELECT n, (SELECT string_agg(md5(n || ' ' || part), '') FROM generate_series(1, 240) part)
         FROM generate_series(${from + 1}, ${to}) n;
       CHECKPOINT`,
    );
    return to;
  }

  /** Writes a share of all rows again, and archives it. */
  async rewrite(share: number): Promise<void> {
    const name = await this.#stack.sql(
      `UPDATE filler SET body = reverse(body) WHERE n % 100 < ${share * 100};
       SELECT pg_walfile_name(pg_switch_wal() - 1)`,
    );
    await waitFor(`${name} in the archive`, longMs, async () => {
      const facts = await readRepository(this.#stack.descriptor, context(this.#stack), longMs);
      return (facts.repositories[0]?.newestWal ?? "") >= name ? true : undefined;
    });
  }

  async backup(type: string): Promise<void> {
    await this.#pgbackrest([`--type=${type}`, "backup"]);
  }

  /** What a plan says that a restore of the newest state takes, and what it takes. */
  async prediction(megabytes: number, restore: number): Promise<Row> {
    const { plan, recovery } = await this.#plan();
    const directories = await this.#directories();
    await settle();
    try {
      const { tookMs: filesMs } = await restoreFiles(
        recovery.source,
        directories,
        recovery,
        context(this.#stack),
      );
      const begun = Date.now();
      const { binaries } = this.#stack.descriptor.postgres;
      const instance = await startInstance({
        ...recovery,
        directories,
        binaries,
        archiveCommand: null,
      });
      await replay(instance, recovery.archive, context(this.#stack));
      const replayMs = Date.now() - begun;
      const { paths } = await openStack({ stack: "local", env: this.#stack.env });
      await recordMeasurement(paths, {
        at: new Date().toISOString(),
        kind: "beside",
        ...plan.work,
        filesMs,
        replayMs,
        otherMs: 0,
      });
      const predicted = plan.predicted.filesMs + plan.predicted.replayMs;
      return row(
        `restore ${restore} of ${megabytes} MB and ${plan.work.segments} segments, predicted beside measured`,
        predicted,
        filesMs + replayMs,
        restore === restoresOfOneSize ? "within 25 %" : "",
      );
    } finally {
      await stopServer(directories, "immediate");
      await rm(directories.work, { recursive: true, force: true });
    }
  }

  async #backupWithCtm(): Promise<void> {
    await run(process.execPath, ["--disable-warning=ExperimentalWarning", cli, "backup", "full"], {
      cwd: "/",
      env: this.#stack.env,
      timeoutMs: longMs,
    });
  }

  async backups(): Promise<Row> {
    const ours: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const times of round % 2 === 0 ? [ours, bare] : [bare, ours]) {
        await settle();
        times.push(
          await timed(() => (times === ours ? this.#backupWithCtm() : this.backup("full"))),
        );
      }
    }
    return row(
      "ctm backup full beside pgbackrest backup",
      median(ours),
      median(bare),
      "within 10 %",
    );
  }

  /** The files alone: replay has no counterpart in pgBackRest. */
  async restores(): Promise<Row> {
    const { recovery } = await this.#plan();
    const ours: number[] = [];
    const bare: number[] = [];
    for (let round = 0; round < rounds; round++) {
      // Whoever comes second finds what the first one read in memory.
      for (const times of round % 2 === 0 ? [ours, bare] : [bare, ours]) {
        const directories = await this.#directories();
        await settle();
        times.push(
          await timed(async () => {
            if (times === ours) {
              await restoreFiles(recovery.source, directories, recovery, context(this.#stack));
            } else {
              await makeDirectory(directories.data, {
                mode: 0o700,
                owner: this.#asPostgres.identity,
              });
              await run(
                "pgbackrest",
                [
                  ...backrestOptions(recovery.source, directories),
                  `--set=${recovery.set}`,
                  "--type=none",
                  "restore",
                ],
                { ...this.#asPostgres, cwd: "/", timeoutMs: longMs },
              );
            }
          }),
        );
        await rm(directories.work, { recursive: true, force: true });
      }
    }
    return row(
      "files of a restore beside pgbackrest restore",
      median(ours),
      median(bare),
      "within 10 %",
    );
  }

  /** On an archive of 10,000 segments whose files exist, with 200 backups. */
  async planning(): Promise<Row[]> {
    const { descriptor } = this.#stack;
    const [repository] = descriptor.backup.repositories;
    if (repository === undefined) throw new Error("there is no repository");
    const { archive } = (await this.#gathered()).facts;
    const place = join(repository.path, "archive", descriptor.backup.stanza, archive.id);
    for (let number = 0x10_000; number < 0x10_000 + archiveSegments; number++) {
      const name = segmentName({ timeline: 1, number });
      const segments = join(place, name.slice(0, 16));
      if (number % 256 === 0) {
        await makeDirectory(segments, { mode: 0o750, owner: this.#asPostgres.identity });
      }
      await writeFile(join(segments, `${name}-${"0".repeat(40)}.zst`), "");
    }
    const listed = await timed(() =>
      readArchive(descriptor, context(this.#stack), repository).then(() => undefined),
    );
    const every = archiveSegments / archiveBackups;
    const backups = Array.from({ length: archiveBackups }, (_, index) =>
      fakeBackup(1, 1 + index * every),
    );
    const listing = fakeListing([{ timeline: 1, first: 1, last: archiveSegments }], backups);
    const [fake] = listing.archives;
    if (fake === undefined) throw new Error("there is no archive");
    const planned = await timed(async () => {
      makePlan(
        { kind: "latest" },
        { timeline: 1, stop: { kind: "end" }, at: null, found: null, drops: [] },
        {
          repository: "near",
          archive: fake,
          backups,
          live: null,
          now: minute(archiveSegments),
          freeBytes: Number.MAX_SAFE_INTEGER,
          measurements: [],
        },
      );
    });
    const audited = await timed(async () => {
      auditArchive(listing, backups, { from: minute(0), archivedTo: null });
    });
    const size = `${archiveSegments} segments, ${archiveBackups} backups`;
    const line = (what: string, ms: number, goal: string): Row => ({
      what: `${what}, ${size}`,
      ours: seconds(ms),
      other: "",
      ratio: "",
      goal,
    });
    return [
      line("listing and planning", listed + planned, "under 2 s"),
      line("listing and auditing", listed + audited, "under 10 s"),
    ];
  }

  async #gathered() {
    const stack = await openStack({ stack: "local", env: this.#stack.env });
    return await gather(stack, context(this.#stack), undefined);
  }

  /** The newest state, from the archive alone. */
  async #plan(): Promise<{ plan: Plan; recovery: ReturnType<typeof recoveryOf> }> {
    const { facts, world, repository } = await this.#gathered();
    const place = await locate({ kind: "latest" }, { ...world, live: null });
    const plan = makePlan({ kind: "latest" }, place, { ...facts, live: null });
    return { plan, recovery: recoveryOf({ plan, repository }, this.#stack.descriptor) };
  }

  async #directories() {
    this.#restored += 1;
    const directory = join(this.#folder, String(this.#restored));
    await makeInstanceDirectory(directory, this.#source.user);
    return instanceDirectories(directory);
  }

  async #pgbackrest(args: readonly string[]): Promise<void> {
    await run(
      "pgbackrest",
      [`--config=${this.#source.configuration}`, `--stanza=${this.#source.stanza}`, ...args],
      { ...this.#asPostgres, cwd: "/", timeoutMs: longMs },
    );
  }
}

function context({ env }: ScratchStack) {
  const quiet = (): void => undefined;
  return {
    env,
    signal: new AbortController().signal,
    progress: { step: quiet, detail: quiet, clear: quiet },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}

function row(what: string, ours: number, other: number, goal: string): Row {
  const ratio = `${ours >= other ? "+" : ""}${((ours / other - 1) * 100).toFixed(0)} %`;
  return { what, ours: seconds(ours), other: seconds(other), ratio, goal };
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2);
}

function table(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(({ what }) => what.length));
  return [
    `${"".padEnd(width)}   OURS s  OTHER s  DIFFERENCE  GOAL`,
    ...rows.map(({ what, ours, other, ratio, goal }) =>
      `${what.padEnd(width)} ${ours.padStart(8)} ${other.padStart(8)} ${ratio.padStart(11)}  ${goal}`.trimEnd(),
    ),
  ].join("\n");
}
