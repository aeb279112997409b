import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { StackPaths } from "#stack";
import { makeDirectory, readDirectoryIfExists, writeFileAtomic } from "#system";
import { countText, durationText, timeText } from "../text.ts";

const time = z.iso.datetime();

const checkDocument = z.strictObject({
  name: z.string(),
  /** `skipped` where it could not be made; the detail says why. */
  result: z.enum(["passed", "failed", "skipped"]),
  detail: z.string(),
  took_ms: z.int(),
});

/** One check of a recovered server. */
export type CheckResult = z.infer<typeof checkDocument>;

const restoreDocument = z.strictObject({
  /** What was asked for, in words. */
  target: z.string(),
  backup: z.string().nullable(),
  /** Null when the target was not reached. */
  reached: z
    .strictObject({
      evidence: z.string(),
      lsn: z.string(),
      last_commit_at: z.string().nullable(),
      timeline: z.int(),
      segments: z.int(),
      files_ms: z.int(),
      replay_ms: z.int(),
      promote_ms: z.int(),
    })
    .nullable(),
  failure: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  checks: z.array(checkDocument),
});

/** What a drill did and found. */
export const drillDocument = z.strictObject({
  at: time,
  ok: z.boolean(),
  /** Name of the repository that everything came from. */
  repository: z.string(),
  /** From the decision to restore until the newest state answered queries; null when it never did. */
  rto_ms: z.int().nullable(),
  /** Work that would have been lost with the primary when the drill began; null when nobody knows. */
  rpo_ms: z.int().nullable(),
  took_ms: z.int(),
  gaps: z.array(z.strictObject({ from: z.string(), to: z.string(), kind: z.string() })),
  restores: z.array(restoreDocument),
  /** The same for people. */
  report: z.string(),
});

export type DrillDocument = z.infer<typeof drillDocument>;
export type RestoreDocument = z.infer<typeof restoreDocument>;

/** Drills that are remembered. */
const kept = 100;

/** Writes a drill's report, as JSON and as Markdown. */
export async function writeReport(paths: StackPaths, drill: DrillDocument): Promise<void> {
  const folder = reportFolder(paths);
  await makeDirectory(folder, { mode: 0o755 });
  const json = drill.report.replace(/md$/, "json");
  await writeFileAtomic(drill.report, markdown(drill), { mode: 0o644 });
  await writeFileAtomic(json, `${JSON.stringify(drill, null, 2)}\n`, { mode: 0o644 });
  const old = (await reportNames(paths)).slice(0, -kept);
  for (const name of old) {
    await rm(join(folder, name), { force: true });
    await rm(join(folder, name.replace(/json$/, "md")), { force: true });
  }
}

/** Where the Markdown of a drill that began now will stand. */
export function reportPath(paths: StackPaths, began: Date): string {
  const name = began.toISOString().replaceAll(/[-:]|\.\d+/g, "");
  return join(reportFolder(paths), `drill-${name}.md`);
}

/** The newest drill's report, or null when there was none. */
export async function lastDrill(paths: StackPaths): Promise<DrillDocument | null> {
  const newest = (await reportNames(paths)).at(-1);
  if (newest === undefined) return null;
  const text = await readFile(join(reportFolder(paths), newest), "utf8");
  return drillDocument.parse(JSON.parse(text));
}

/** Every problem that a drill found, in one line each. */
export function problemsOf({ gaps, restores }: DrillDocument): string[] {
  return [
    ...gaps.map(({ from, to, kind }) => `WAL ${kind}: ${from} to ${to}`),
    ...restores.flatMap(({ target, failure, checks }) => [
      ...(failure === null ? [] : [`${target}: ${failure.code}: ${failure.message}`]),
      ...checks
        .filter(({ result }) => result === "failed")
        .map(({ name, detail }) => `${target}, ${name}: ${detail}`),
    ]),
  ];
}

async function reportNames(paths: StackPaths): Promise<string[]> {
  const names = await readDirectoryIfExists(reportFolder(paths));
  return names.filter((name) => name.endsWith(".json")).toSorted();
}

function reportFolder(paths: StackPaths): string {
  return join(paths.state, "drills");
}

function markdown(drill: DrillDocument): string {
  const ms = (value: number | null): string => (value === null ? "unknown" : durationText(value));
  const problems = problemsOf(drill);
  return [
    `# Drill of ${timeText(drill.at)}: ${drill.ok ? "passed" : "failed"}`,
    "",
    `From repository ${drill.repository}, in ${durationText(drill.took_ms)}. RTO ${ms(drill.rto_ms)}, RPO ${ms(drill.rpo_ms)}.`,
    "",
    ...(problems.length === 0
      ? ["Nothing is wrong."]
      : [`${countText(problems.length, "problem")}:`, "", ...problems.map((each) => `- ${each}`)]),
    ...drill.restores.flatMap((restore) => ["", ...restoreSection(restore)]),
    "",
  ].join("\n");
}

function restoreSection({ target, backup, reached, checks }: RestoreDocument): string[] {
  return [
    `## ${target}`,
    "",
    `Backup ${backup ?? "none"}. ${
      reached === null
        ? "The target was not reached."
        : `${reached.evidence}: ${reached.lsn} on timeline ${reached.timeline}, last commit ${reached.last_commit_at ?? "none"}; files ${durationText(reached.files_ms)}, ${countText(reached.segments, "segment")} replayed in ${durationText(reached.replay_ms)}.`
    }`,
    ...(checks.length === 0 ? [] : ["", "| check | result | |", "| --- | --- | --- |"]),
    ...checks.map(
      ({ name, result, detail }) =>
        `| ${name} | ${result} | ${detail.replaceAll("|", "\\|").replaceAll("\n", " ")} |`,
    ),
  ];
}
