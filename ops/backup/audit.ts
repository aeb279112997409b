import { z } from "zod";
import { stackConnection } from "../facts/connection.ts";
import { readArchiver } from "../facts/server.ts";
import { windowStart } from "../facts/window.ts";
import { openStack } from "../open-stack.ts";
import { table } from "../paint.ts";
import { readArchive, type ArchiveListing } from "../recovery/archive.ts";
import { gapDocument } from "../recovery/gap-document.ts";
import { auditArchive, recoverableFrom } from "../recovery/gaps.ts";
import { defineCommand } from "../command.ts";
import { countText, timeText } from "../text.ts";

const auditDocument = z.strictObject({
  window_days: z.int(),
  repositories: z.array(
    z.strictObject({
      name: z.string(),
      recoverable_from: z.iso.datetime().nullable(),
      /** Fulls that are older than the window: points, each whole in itself. */
      points: z.array(z.iso.datetime()),
      backups: z.int(),
      segments: z.int(),
      timelines: z.array(z.int()),
    }),
  ),
  gaps: z.array(gapDocument),
});

/** How long the leader may take to say what it archived last. */
const archiverMs = 3_000;

export const command = defineCommand({
  help: "Proves from the names of the stored files that no WAL is missing that a restore would need: in the window of point-in-time recovery on every timeline, and inside each older backup's own range, in every repository. Finds what PostgreSQL and pgBackRest do not report: WAL dropped by archive-push-queue-max, segments deleted in the middle. Exits 3 when something is missing. Changes nothing, and works while the cluster is down; a loss at the very end is then not seen.",
  examples: [{ run: "ctm backup audit", does: "every gap, with its range" }],
  arguments: {},
  flags: {},
  document: auditDocument,
  async run(_, context) {
    const stack = await openStack(context);
    const { backup } = stack.descriptor;
    const start = windowStart(stack.descriptor, new Date());
    context.progress.step("asking the leader what it archived");
    // Asked first: what it calls archived by now has to be in the listings that follow.
    const archivedTo = await stackConnection(stack, "ctm_monitor")
      .then((config) => readArchiver(config, archiverMs))
      .then(({ lastWal }) => lastWal)
      .catch(() => null);
    context.progress.step("listing the repositories");
    const listings = await Promise.all(
      backup.repositories.map((repository) => readArchive(stack.descriptor, context, repository)),
    );
    const audits = listings.map((listing) =>
      auditArchive(listing, listing.backups, { from: start, archivedTo }),
    );
    return {
      window_days: backup.policy.windowDays,
      repositories: listings.map((listing) => summary(listing, start)),
      gaps: audits.flat(),
    };
  },
  render({ window_days, repositories, gaps }, paint) {
    const lines = repositories.map(
      ({ name, recoverable_from, points, segments, timelines }) =>
        `repository ${name}: ${countText(segments, "segment")} on ${countText(timelines.length, "timeline")}; ${
          recoverable_from === null
            ? paint.bad("no backup, so nothing can be recovered")
            : `every moment from ${timeText(recoverable_from)} on (a window of ${countText(window_days, "day")})${points.length === 0 ? "" : `, and ${countText(points.length, "older backup")} as points`}`
        }`,
    );
    if (gaps.length === 0) return [...lines, paint.good("no WAL is missing")].join("\n");
    const rows = gaps.map(({ repository, timeline, from, to, segments, kind, backups }) => [
      repository,
      String(timeline),
      from,
      to,
      String(segments),
      kind,
      backups.length === 0 ? "recovery past it" : `${backups.join(", ")} as a whole`,
    ]);
    return [
      ...lines,
      "",
      paint.bad(`${countText(gaps.length, "gap")}: no recovery passes it`),
      table([["REPOSITORY", "TIMELINE", "FROM", "TO", "SEGMENTS", "KIND", "LOST"], ...rows], paint),
      "",
      "next: ctm backup full    what follows it can be recovered again",
    ].join("\n");
  },
  exitCode: ({ gaps, repositories }) =>
    gaps.length > 0 || repositories.some((each) => each.recoverable_from === null) ? 3 : 0,
});

function summary({ repository, archives, backups }: ArchiveListing, start: Date) {
  const timelines = new Set(archives.flatMap(({ segments }) => [...segments.keys()]));
  const held = archives.flatMap(({ segments }) => [...segments.values()]);
  return {
    name: repository,
    recoverable_from: recoverableFrom(backups, start)?.toISOString() ?? null,
    points: backups
      .filter(({ type, stoppedAt }) => type === "full" && stoppedAt < start)
      .map(({ stoppedAt }) => stoppedAt.toISOString()),
    backups: backups.length,
    segments: held.reduce((sum, { size }) => sum + size, 0),
    timelines: [...timelines].toSorted((one, other) => one - other),
  };
}
