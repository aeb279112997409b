import { defineCommand } from "../command.ts";
import type { DrillDocument } from "../drill/report.ts";
import { recoverableWindow, windowStart } from "../facts/window.ts";
import { openStack, type Stack } from "../open-stack.ts";
import { statusDocument, type StatusDocument } from "./document.ts";
import { gather, type Probes } from "./gather.ts";
import { assessmentOf, gapsOf, judge, lagOf, warnOfSynchrony } from "./judge.ts";
import { render } from "./render.ts";

export const command = defineCommand({
  help: "Asks every part of the stack at once, three seconds at most, and says what is so and what is wrong. Exits 3 when something is wrong. Changes nothing.",
  examples: [
    { run: "ctm status", does: "one screen" },
    { run: "ctm status --json | jq .healthy", does: "for a script" },
  ],
  arguments: {},
  flags: {},
  document: statusDocument,
  async run(_, context) {
    const stack = await openStack(context);
    context.progress.step("asking the stack's parts");
    return describe(stack, await gather(stack, context), new Date());
  },
  render,
  exitCode: ({ healthy }) => (healthy ? 0 : 3),
});

/** The document from what the parts said. */
export function describe({ descriptor }: Stack, probes: Probes, now: Date): StatusDocument {
  const { postgres, backup, api, edge, stack } = descriptor;
  const { cluster, rw, ro, archiver, repository } = probes;
  const problems = judge(descriptor, probes, now);
  const { objectives, schedule, warnings } = assessmentOf(descriptor, probes, now);
  const backups = repository.facts?.backups ?? [];
  const memberAt = (facts: Probes["rw"]["facts"]): string | null =>
    postgres.members.find(({ host, port }) => host === facts?.address && port === facts.port)
      ?.name ?? null;
  const window = recoverableWindow(archiver.facts, repository.facts, windowStart(descriptor, now));
  return {
    stack,
    healthy: problems.length === 0,
    problems,
    warnings: [...warnOfSynchrony(descriptor, probes), ...warnings],
    checked_at: now.toISOString(),
    postgres: {
      version: cluster.facts?.version ?? null,
      primary: cluster.facts?.leader ?? null,
      paused: cluster.facts?.paused ?? null,
      members: postgres.members.map(({ name }) => {
        const facts = cluster.facts?.members.find((each) => each.name === name);
        return {
          name,
          role: facts?.role ?? null,
          state: facts?.state ?? null,
          timeline: facts?.timeline ?? null,
          lag_bytes: facts?.lagBytes ?? null,
        };
      }),
      rw: {
        ...postgres.rw,
        database: postgres.database,
        member: memberAt(rw.facts),
        reachable: reachable(rw),
      },
      ro: {
        ...postgres.ro,
        database: postgres.database,
        member: memberAt(ro.facts),
        reachable: reachable(ro),
      },
    },
    services: probes.services.facts,
    backup: {
      last_full_at: iso(backups.findLast(({ type }) => type === "full")?.stoppedAt),
      last_at: iso(backups.at(-1)?.stoppedAt),
      running: repository.facts?.running ?? null,
      recoverable_from: iso(window.from),
      recoverable_to: iso(window.to),
      gaps: gapsOf(descriptor, probes, now),
      repositories:
        repository.facts === null
          ? null
          : backup.repositories.map(({ name, number, kind, path }) => {
              if (kind === "s3") return { name, number, kind, path, ...farCopy(probes, now) };
              const facts = repository.facts?.repositories.find((each) => each.number === number);
              return {
                name,
                number,
                kind,
                path,
                status: facts?.status ?? null,
                backups: backups.filter((each) => each.repository === number).length,
                newest_wal: facts?.newestWal ?? null,
                behind_bytes: 0,
                behind_ms: 0,
              };
            }),
      archive:
        archiver.facts === null
          ? null
          : {
              last_wal: archiver.facts.lastWal,
              failing: archiver.facts.failing,
              waiting_segments: archiver.facts.waiting,
            },
      objectives,
      schedule,
      last_drill: drillOf(probes.drill.facts?.last ?? null),
    },
    api: {
      url: api.url,
      admin_url: api.adminUrl,
      version: probes.api.facts?.version ?? null,
      ready: probes.api.facts !== null,
      pools: probes.api.facts?.pools ?? null,
    },
    edge:
      edge === null
        ? null
        : { url: edge.url, connections: probes.tunnel.facts?.connections ?? null },
    restore: restoreOf(probes),
    schema: {
      version: probes.schema.facts?.version ?? null,
      pending: probes.schema.facts?.pending ?? null,
    },
    alerts: { firing: null },
  };
}

function restoreOf({ restore: { facts } }: Probes): StatusDocument["restore"] {
  if (facts === null || facts.state === null) return null;
  const { target, step, kept, expiresAt } = facts.state;
  return { target, step, kept, expires_at: expiresAt };
}

/** The far copy as its copier last saw it. */
function farCopy({ far: { facts } }: Probes, now: Date) {
  const unknown = { status: null, backups: null, newest_wal: null, behind_bytes: null };
  if (facts === null || facts === undefined) return { ...unknown, behind_ms: null };
  return {
    ...unknown,
    status: facts.error ?? "ok",
    newest_wal: facts.newest_wal,
    behind_bytes: facts.behind_bytes,
    behind_ms: lagOf(facts, now),
  };
}

function drillOf(last: DrillDocument | null): StatusDocument["backup"]["last_drill"] {
  if (last === null) return null;
  const { at, ok, rto_ms, rpo_ms } = last;
  return { at, ok, rto_ms, rpo_ms };
}

function reachable({ facts, failure }: Probes["rw"]): boolean | null {
  return facts === null && failure === null ? null : facts !== null;
}

function iso(time: Date | null | undefined): string | null {
  return time?.toISOString() ?? null;
}
