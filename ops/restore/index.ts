import { z } from "zod";
import { CtmError } from "#system";
import { checkMayControl } from "../check-may-control.ts";
import { badUsage, defineCommand, type Context } from "../command.ts";
import { openStack, type Stack } from "../open-stack.ts";
import { createPaint } from "../paint.ts";
import { absolutePath, anyText, defaulted, optional, toggle, wholeNumber } from "../parameters.ts";
import { gather, type Gathered } from "../recovery/gather.ts";
import { confirmRestore, restoreInPlace, undoRestore } from "../recovery/in-place.ts";
import { locate } from "../recovery/locate.ts";
import { makePlan, type Plan } from "../recovery/plan.ts";
import {
  halfDone,
  readRestoreState,
  takeRestoreTurn,
  type RestoreState,
} from "../recovery/restore-state.ts";
import type { TableName } from "../recovery/table-name.ts";
import { parseBeforeDrop, parseTarget, type Target } from "../recovery/target.ts";
import { durationText, timeText } from "../text.ts";
import {
  planBeside,
  recoveredDocument,
  recoveredText,
  restoreInto,
  type RecoveredDocument,
} from "./into.ts";
import { planDocument, planRow, planText } from "./plan-document.ts";
import { copiedDocument, copiedText, copyTable, tableName, type CopiedDocument } from "./table.ts";

const restoredDocument = z.strictObject({
  action: z.literal("restored"),
  plan: planDocument,
  member: z.string(),
  /** What replay reached, by the server's own account. */
  reached: z.strictObject({
    evidence: z.string(),
    lsn: z.string(),
    last_commit_at: z.string().nullable(),
  }),
  timeline: z.int(),
  files_ms: z.int(),
  replay_ms: z.int(),
  /** From the closing of the ports to their opening. */
  down_ms: z.int(),
  kept: z.string(),
  kept_until: z.iso.datetime(),
});

const restoreDocument = z.discriminatedUnion("action", [
  z.strictObject({ action: z.literal("planned"), plan: planDocument }),
  restoredDocument,
  recoveredDocument,
  copiedDocument,
  z.strictObject({ action: z.literal("undone"), member: z.string(), target: z.string() }),
  z.strictObject({ action: z.literal("confirmed"), removed: z.string() }),
]);

export const command = defineCommand({
  help: `Point-in-time recovery in place: the cluster goes back to a target, and what came after it is lost. Shows a plan and asks; --plan shows it alone and touches nothing. The ports are closed meanwhile. Replay is proven to have reached the target before the cluster starts on it; if it does not, the old data comes back by itself. The old data is kept beside the new for a week: --undo brings it back, --confirm removes it.

A target is a time with its zone ("2026-11-24 02:10:44Z", "2026-11-24 03:10 Europe/Berlin"), an LSN (0/5000028; before:0/5000028 leaves out what begins there), a transaction (xid:1234), a restore point (name:POINT), a label of ctm backup list, or latest.`,
  examples: [
    { run: 'ctm restore --to "2026-11-24 02:10:44Z" --plan', does: "what it would do" },
    { run: 'ctm restore --to "2026-11-24 02:10:44Z"', does: "shows the plan, asks, restores" },
    {
      run: "ctm restore --before-drop tasks",
      does: "to just before the table was dropped or emptied",
    },
    {
      run: "ctm restore --before-drop tasks --into /var/tmp/before",
      does: "a server beside the stack, to look at what was there",
    },
    {
      run: "ctm restore --into /var/tmp/before --table tasks",
      does: "copies the table from there into the live database, under a new name",
    },
    { run: "ctm restore --undo", does: "brings the data of before the restore back" },
    { run: "ctm restore --confirm", does: "it is right: removes the data of before" },
  ],
  arguments: {},
  flags: {
    to: optional("TARGET", "the moment to go back to", anyText),
    beforeDrop: optional("TABLE", "to just before this table was dropped or truncated", anyText),
    drop: defaulted("N", "which drop, counted back from the newest", "1", wholeNumber(1, 1000)),
    timeline: optional(
      "N",
      "the timeline to follow (default: the one that lived then)",
      wholeNumber(1, 2 ** 31),
    ),
    repository: optional("NAME", "restore from this repository (default: the near one)", anyText),
    plan: toggle("show the plan and touch nothing"),
    undo: toggle("bring the data of before the restore back"),
    confirm: toggle("remove the data of before the restore"),
    into: optional(
      "FOLDER",
      "beside the stack, as a server of its own in this new folder",
      absolutePath,
    ),
    expires: defaulted("HOURS", "when that server goes away", "24", wholeNumber(1, 24 * 365)),
    table: optional(
      "TABLE",
      "with --into: copy this table's rows from there into the live database",
      tableName,
    ),
    as: optional("NAME", "name of the copy (default: the table's with the time)", anyText),
  },
  destructive: true,
  document: restoreDocument,
  async run(input, context) {
    const asked = [
      ...(input.to === undefined ? [] : ["--to"]),
      ...(input.beforeDrop === undefined ? [] : ["--before-drop"]),
      ...(input.undo ? ["--undo"] : []),
      ...(input.confirm ? ["--confirm"] : []),
    ];
    if (input.plan && (input.undo || input.confirm || input.table !== undefined)) {
      throw badUsage("--plan is for --to and --before-drop: it touches nothing");
    }
    if (input.into !== undefined && (input.undo || input.confirm)) {
      throw badUsage(`--into and ${asked.at(-1)} do not go together`);
    }
    if (input.into !== undefined && input.table !== undefined && asked.length === 0) {
      return await copyTable(await openStack(context), tableOf(input, input.table), context);
    }
    if (input.as !== undefined && input.table === undefined) throw badUsage("--as needs --table");
    if (input.into === undefined && input.table !== undefined) {
      throw badUsage("--table needs --into, the scratch instance to copy from");
    }
    if (asked.length !== 1) {
      throw badUsage(
        asked.length === 0
          ? "one of --to, --before-drop, --undo and --confirm is needed, or --into with --table"
          : `${asked.join(" and ")} do not go together`,
      );
    }
    const target = targetOf(input);
    const stack = await openStack(context);
    if (target !== undefined && input.plan) {
      const { plan } =
        input.into === undefined
          ? await planFor(stack, target, input, context)
          : await planBeside(stack, { ...input, target, directory: input.into }, context);
      return { action: "planned" as const, plan: planRow(plan) };
    }
    await checkMayControl(stack.descriptor);
    if (target !== undefined && input.into !== undefined) {
      return await beside(stack, target, { ...input, into: input.into }, context);
    }
    await takeRestoreTurn(stack.paths, (line) => context.progress.step(line));
    const state = await readRestoreState(stack.paths);
    if (target !== undefined) return await restore(stack, target, input, state, context);
    if (state === undefined) {
      throw new CtmError("nothing-to-undo", "no restore awaits a decision", {
        next: "ctm status",
        exitCode: 2,
      });
    }
    return input.undo ? await undo(stack, state, context) : await finish(stack, state, context);
  },
  exitCode: (document) =>
    document.action === "planned" && document.plan.problems.length > 0 ? 3 : 0,
  render(document, paint) {
    switch (document.action) {
      case "planned": {
        const possible = document.plan.problems.length === 0;
        return [
          planText(document.plan, paint),
          "",
          possible
            ? "nothing was touched; the same command without --plan asks and restores"
            : `next: ${document.plan.problems[0]?.next}`,
        ].join("\n");
      }
      case "restored":
        return [
          `restored to ${document.plan.target}, and proven: ${document.reached.evidence}`,
          `  last commit  ${document.reached.last_commit_at ?? "before the backup"}, replayed to ${document.reached.lsn}`,
          `  timeline     ${document.timeline}, led by ${document.member}; WAL is archived`,
          `  took         ${durationText(document.down_ms)} until the ports were open again`,
          `  old data     ${document.kept}, until ${timeText(document.kept_until)}`,
          "",
          "next:",
          "  ctm migrate status    migrations newer than the target are pending again",
          "  npm run up            repairs what is newer than the target, roles included",
          "  ctm backup full       the next restore is then a short one",
          "  ctm restore --confirm when it is right, or --undo when it is not",
        ].join("\n");
      case "recovered":
        return recoveredText(document);
      case "copied":
        return copiedText(document);
      case "undone":
        return `the data of before the restore to ${document.target} is back, led by ${document.member}\n\nnext: ctm status`;
      case "confirmed":
        return `${document.removed} is removed: the restore is final\n\nnext: ctm backup full`;
    }
  },
});

/** A scratch instance, and one table of it if asked for. */
async function beside(
  stack: Stack,
  target: Target,
  input: Input & { into: string },
  context: Context,
): Promise<RecoveredDocument | CopiedDocument> {
  const { into: directory, expires, repository, timeline, table } = input;
  const expiresAt = new Date(Date.now() + expires * 3_600_000);
  const options = { target, directory, expiresAt, repository, timeline };
  const recovered = await restoreInto(stack, options, context);
  return table === undefined ? recovered : await copyTable(stack, tableOf(input, table), context);
}

function tableOf({ into, as }: Input, table: TableName) {
  return { directory: into ?? "", table, as };
}

interface Input {
  into: string | undefined;
  expires: number;
  table: TableName | undefined;
  as: string | undefined;
  to: string | undefined;
  beforeDrop: string | undefined;
  drop: number;
  timeline: number | undefined;
  repository: string | undefined;
}

function targetOf({ to, beforeDrop, drop }: Input): Target | undefined {
  if (to !== undefined) return parseTarget(to, new Date());
  return beforeDrop === undefined ? undefined : parseBeforeDrop(beforeDrop, drop);
}

async function planFor(
  stack: Stack,
  target: Target,
  { repository, timeline }: Input,
  context: Context,
): Promise<{ plan: Plan; gathered: Gathered }> {
  const gathered = await gather(stack, context, repository);
  const place = await locate(target, gathered.world, timeline);
  return { plan: makePlan(target, place, gathered.facts), gathered };
}

async function restore(
  stack: Stack,
  target: Target,
  input: Input,
  before: RestoreState | undefined,
  context: Context,
): Promise<z.infer<typeof restoredDocument>> {
  if (before !== undefined) await settle(stack, before);
  const { plan, gathered } = await planFor(stack, target, input, context);
  context.progress.clear();
  const [problem] = plan.problems;
  if (problem !== undefined) throw problem;
  await context.confirm(
    [
      planText(planRow(plan), createPaint(process.stderr, context.env)),
      `The database will be closed, taken back, and opened again. The data of now is kept beside it.`,
    ].join("\n"),
  );
  const outcome = await restoreInPlace(stack, plan, gathered, context);
  return {
    action: "restored",
    plan: planRow(plan),
    member: outcome.member,
    reached: {
      evidence: outcome.reached.evidence,
      lsn: outcome.reached.lsn,
      last_commit_at: outcome.reached.lastCommitAt,
    },
    timeline: outcome.timeline,
    files_ms: outcome.filesMs,
    replay_ms: outcome.replayMs,
    down_ms: outcome.downMs,
    kept: outcome.kept,
    kept_until: outcome.expiresAt,
  };
}

/** One kept copy at a time: it is either undone, confirmed, or has expired. */
async function settle(stack: Stack, state: RestoreState): Promise<void> {
  if (state.step !== "done" || state.expiresAt === null) throw halfDone(state);
  if (new Date(state.expiresAt) < new Date()) {
    await confirmRestore(stack, state);
    return;
  }
  throw new CtmError(
    "restore-unconfirmed",
    `the restore of ${state.startedAt} to ${state.target} awaits a decision; the data of before is in ${state.kept}`,
    { next: "ctm restore --confirm when it was right, or --undo", exitCode: 2 },
  );
}

async function undo(
  stack: Stack,
  state: RestoreState,
  context: Context,
): Promise<z.infer<typeof restoreDocument>> {
  await context.confirm(
    state.step === "done"
      ? `The data of before ${state.startedAt} comes back. What was written since is lost from the database; it stays in the archive (ctm restore --to a time of it).`
      : `The restore to ${state.target} was ended in its step "${state.step}". The data of before ${state.startedAt} comes back.`,
  );
  await undoRestore(stack, state, context);
  return { action: "undone", member: state.member, target: state.target };
}

async function finish(
  stack: Stack,
  state: RestoreState,
  context: Context,
): Promise<z.infer<typeof restoreDocument>> {
  if (state.step !== "done") throw halfDone(state);
  await context.confirm(`${state.kept} will be removed: the restore cannot be undone then.`);
  await confirmRestore(stack, state);
  return { action: "confirmed", removed: state.kept };
}
