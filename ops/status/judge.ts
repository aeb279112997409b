import type { Descriptor } from "#stack";
import { isBehind, windowStart } from "../facts/window.ts";
import { nearRepositories } from "../recovery/archive.ts";
import type { CopierState } from "../recovery/copier/state.ts";
import { auditArchive, type Gap } from "../recovery/gaps.ts";
import { assessStack } from "../recovery/objectives.ts";
import type { Assessment, Finding } from "../recovery/schedule.ts";
import { countText, durationText } from "../text.ts";
import { problemsOf } from "../drill/report.ts";
import type { StatusDocument } from "./document.ts";
import type { Probe, Probes } from "./gather.ts";

/** Targets of the operations documents: a full backup a day with an hour's grace, WAL in minutes. */
const oldestFullHours = 25;
const oldestWaitingMinutes = 10;

/** The copier writes its state in every round, once a minute at least. */
const silentMs = 5 * 60_000;

/** What is wrong, the cause before its consequences. */
export function judge(descriptor: Descriptor, probes: Probes, now: Date): Finding[] {
  const { services, cluster, rw, ro } = probes;
  const silent =
    cluster.facts === null ||
    cluster.facts.members.every(({ unreachable }) => unreachable !== null);
  if (services.failure !== null && silent && rw.failure !== null && ro.failure !== null) {
    // One cause, and not the ten consequences of it.
    return [
      ...judgeRestore(probes),
      problem("stack-stopped", `nothing of the stack runs: ${services.failure}`, "ctm start"),
      ...judgeBackups(descriptor, probes, now),
      ...judgeDrill(probes),
    ];
  }
  return [
    ...judgePermission(probes),
    ...judgeRestore(probes),
    ...judgeServices(probes),
    ...judgeCluster(descriptor, probes),
    ...judgeDoors(probes),
    ...judgeArchive(probes, now),
    ...judgeGaps(descriptor, probes, now),
    ...judgeBackups(descriptor, probes, now),
    ...judgeFar(descriptor, probes, now),
    ...assessmentOf(descriptor, probes, now).problems,
    ...judgeDrill(probes),
    ...judgeApi(descriptor, probes),
    ...judgeTunnel(descriptor, probes),
    // With the port closed there was nobody to ask.
    ...(rw.facts === null
      ? []
      : failed("schema-unknown", "the migrations cannot be read", probes.schema, "ctm doctor")),
  ];
}

/** A problem where a part was asked and did not answer. */
function failed(code: string, what: string, { failure }: Probe<unknown>, next: string): Finding[] {
  return failure === null ? [] : [problem(code, `${what}: ${failure}`, next)];
}

function judgePermission(probes: Probes): Finding[] {
  const denied = Object.entries(probes)
    .filter(
      ([, { facts, failure }]: [string, Probe<unknown>]) => facts === null && failure === null,
    )
    .map(([name]) => name);
  if (denied.length === 0) return [];
  return [
    problem(
      "no-permission",
      `this user may not ask about ${denied.join(", ")}`,
      "run as the user that ran up (often root)",
    ),
  ];
}

/** One that is done and not yet confirmed is no problem. */
function judgeRestore({ restore }: Probes): Finding[] {
  if (restore.facts === null) {
    return failed(
      "restore-unknown",
      "the last restore's state cannot be read",
      restore,
      "ctm restore --undo",
    );
  }
  const { state } = restore.facts;
  if (state === null || state.step === "done") return [];
  return [
    problem(
      "restore-half-done",
      `a restore to ${state.target} is in its step "${state.step}": it still runs, or it was ended there`,
      "ctm restore --undo waits for one that runs, and brings the old data back",
    ),
  ];
}

function judgeServices({ services }: Probes): Finding[] {
  if (services.facts === null) {
    const { failure } = services;
    return failure === null ? [] : [problem("supervisor-unreachable", failure, "ctm start")];
  }
  return stopped(services.facts).map(({ name, state }) =>
    problem(
      "service-not-running",
      `${name} is ${state ?? "unknown to supervisord"}`,
      state === null ? "npm run up" : state === "STOPPED" ? "ctm start" : `ctm logs ${name}`,
    ),
  );
}

function judgeCluster(descriptor: Descriptor, { cluster, services }: Probes): Finding[] {
  if (cluster.facts === null) {
    return failed("cluster-unknown", "Patroni cannot be asked", cluster, "ctm doctor");
  }
  const { leader, members, paused } = cluster.facts;
  const down = new Set(stopped(services.facts ?? []).map(({ name }) => name));
  const problems: Finding[] = [];
  if (leader === null) {
    problems.push(
      members.some(({ role }) => role !== null)
        ? problem("no-leader", "the cluster has no leader", "ctm logs etcd")
        : problem("leader-unknown", "no member could tell who leads", "ctm logs etcd"),
    );
  }
  const leaderTimeline = members.find(({ name }) => name === leader)?.timeline ?? null;
  for (const { name, state, timeline, unreachable } of members) {
    const logs = `ctm logs ${name}`;
    if (unreachable !== null) {
      // Its service was named already.
      if (down.has(name)) continue;
      problems.push(
        problem("member-unreachable", `${name}: Patroni does not answer: ${unreachable}`, logs),
      );
    } else if (name === leader) {
      if (state !== "running") {
        problems.push(problem("leader-not-running", `${name} leads and is ${state}`, logs));
      }
    } else if (state !== "streaming" && leader !== null) {
      // A replica that streams follows its leader, though it may report the old timeline until it
      // has replayed the switch.
      const behind =
        timeline === null || leaderTimeline === null || timeline === leaderTimeline
          ? ""
          : `; it is on timeline ${timeline}, ${leader} on ${leaderTimeline}`;
      problems.push(
        problem(
          "member-not-streaming",
          `${name} is ${state} and does not stream from ${leader}${behind}`,
          logs,
        ),
      );
    }
  }
  if (paused === true) {
    const configuration = descriptor.postgres.members[0]?.patroniConfiguration;
    problems.push(
      problem(
        "cluster-paused",
        "automatic failover is off",
        `patronictl -c ${configuration} resume ${descriptor.postgres.cluster}`,
      ),
    );
  }
  return problems;
}

function judgeDoors({ rw, ro }: Probes): Finding[] {
  return [
    ...failed("read-write-closed", "the read-write port does not answer", rw, "ctm doctor"),
    ...(rw.facts?.inRecovery === true
      ? [
          problem(
            "read-write-on-replica",
            "the read-write port leads to a replica",
            "ctm logs proxy",
          ),
        ]
      : []),
    ...failed("read-only-closed", "the read-only port does not answer", ro, "ctm doctor"),
  ];
}

function judgeArchive({ archiver, repository, rw, cluster }: Probes, now: Date): Finding[] {
  const logs = `ctm logs ${cluster.facts?.leader ?? "postgres"}`;
  if (archiver.facts === null) {
    // With the port closed there was nobody to ask.
    if (rw.facts === null) return [];
    return failed("archiving-unknown", "the archiver cannot be asked", archiver, "ctm doctor");
  }
  const { failing, failedWal, failedAt, waiting, waitingSince, lastWal } = archiver.facts;
  const problems: Finding[] = [];
  if (failing) {
    problems.push(
      problem(
        "archiving-fails",
        `archiving ${failedWal} failed at ${failedAt?.toISOString()}; ${waiting} segments wait`,
        logs,
      ),
    );
  } else if (waitingSince !== null) {
    const minutes = Math.floor((now.getTime() - waitingSince.getTime()) / 60_000);
    if (minutes >= oldestWaitingMinutes) {
      problems.push(
        problem(
          "archive-behind",
          `${waiting} segments wait to be archived, the oldest for ${minutes} minutes`,
          logs,
        ),
      );
    }
  }
  if (isBehind(archiver.facts, repository.facts)) {
    const newest = repository.facts?.repositories
      .map((each) => each.newestWal ?? "none")
      .join(", ");
    problems.push(
      problem(
        "wal-missing",
        `the server archived ${lastWal}, the repository's newest segment is ${newest}`,
        "ctm backup full",
      ),
    );
  }
  return problems;
}

/** Holes in the near archive; null where it cannot be listed. The newest end is judged above. */
export function gapsOf(
  descriptor: Descriptor,
  { archive }: Pick<Probes, "archive">,
  now: Date,
): Gap[] | null {
  if (archive.facts === null) return null;
  const window = { from: windowStart(descriptor, now), archivedTo: null };
  return auditArchive(archive.facts, archive.facts.backups, window);
}

function judgeGaps(descriptor: Descriptor, probes: Probes, now: Date): Finding[] {
  const gaps = gapsOf(descriptor, probes, now) ?? [];
  return gaps.map(({ repository, timeline, from, to, segments }) =>
    problem(
      "wal-gap",
      `repository ${repository} lacks ${from} to ${to} (${countText(segments, "segment")}, timeline ${timeline}): no recovery passes it`,
      "ctm backup audit",
    ),
  );
}

/** Whether backups hold what was promised. */
export function assessmentOf(descriptor: Descriptor, probes: Probes, now: Date): Assessment {
  return assessStack(
    descriptor,
    {
      repository: probes.repository.facts,
      archive: probes.archive.facts,
      archiver: probes.archiver.facts,
      measurements: probes.measurements.facts ?? [],
    },
    now,
  );
}

/**
 * Warns while no standby is synchronous. Patroni makes one so only in its next round after that one
 * streams: seconds without one follow each start of a leader.
 */
export function warnOfSynchrony(
  { postgres }: Descriptor,
  { cluster: { facts } }: Probes,
): Finding[] {
  const standbys = facts?.members.filter(({ state }) => state === "streaming") ?? [];
  // One that does not stream is a problem already.
  if (!postgres.synchronous || facts === null || standbys.length === 0) return [];
  if (standbys.some(({ role }) => role === "sync_standby")) return [];
  return [
    problem(
      "no-synchronous-standby",
      `no standby is synchronous: what is committed now is on ${facts.leader} alone, and Patroni refuses a switchover`,
      `ctm status a little later; if it stays so, ctm logs ${facts.leader}`,
    ),
  ];
}

/** How long the far copy lacks what the near one holds, in milliseconds; null when unknown. */
export function lagOf(state: CopierState, now: Date): number | null {
  const age = (iso: string): number => Math.max(0, now.getTime() - Date.parse(iso));
  if (state.behind_since !== null) return age(state.behind_since);
  // A copier that says nothing any more does not see what is new.
  if (age(state.at) > silentMs) return age(state.at);
  return state.behind_files === 0 ? 0 : null;
}

function judgeFar(descriptor: Descriptor, { far }: Probes, now: Date): Finding[] {
  const logs = "ctm logs copier";
  if (far.facts === null) return failed("far-unknown", "the far copy is unknown", far, logs);
  if (far.facts === undefined) return [];
  const { failing_since: failingSince, error } = far.facts;
  const { rpoMinutes } = descriptor.backup.policy;
  const lag = lagOf(far.facts, now);
  // What it cannot see, it has not copied either.
  const failing = failingSince === null ? 0 : now.getTime() - Date.parse(failingSince);
  const behind = lag ?? failing;
  if (behind < rpoMinutes * 60_000) return [];
  return [
    problem(
      "far-behind",
      `the far copy is ${durationText(behind)} behind, and the RPO is ${rpoMinutes} min${error === null ? "" : `: ${error}`}`,
      logs,
    ),
  ];
}

/** A backup that could not be restored the last time somebody tried is none. */
function judgeDrill({ drill }: Probes): Finding[] {
  const last = drill.facts?.last ?? null;
  if (last === null || last.ok) {
    return failed("drill-unknown", "the last drill's report cannot be read", drill, "ctm drill");
  }
  return [
    problem(
      "drill-failed",
      `the last drill failed: ${problemsOf(last)[0] ?? last.report}`,
      "ctm drill",
    ),
  ];
}

function judgeBackups(descriptor: Descriptor, { repository }: Probes, now: Date): Finding[] {
  if (repository.facts === null) {
    const { failure } = repository;
    return failure === null ? [] : [problem("repository-unreadable", failure, "ctm doctor")];
  }
  const { repositories, backups, running } = repository.facts;
  const problems: Finding[] = [];
  for (const { number, path } of nearRepositories(descriptor)) {
    const found = repositories.find((each) => each.number === number);
    const full = backups.findLast((each) => each.repository === number && each.type === "full");
    if (found === undefined) {
      problems.push(
        problem(
          "repository-missing",
          `repository ${number} is not in ${path}: it was moved, or its disk is not mounted`,
          "bring it back; npm run up makes an empty one",
        ),
      );
    } else if (full === undefined) {
      if (running) continue;
      problems.push(
        problem("no-full-backup", `repository ${number} holds no full backup`, "ctm backup full"),
      );
    } else if (!found.ok) {
      problems.push(
        problem("repository-not-ok", `repository ${number}: ${found.status}`, "ctm doctor"),
      );
    } else {
      const hours = Math.floor((now.getTime() - full.stoppedAt.getTime()) / 3_600_000);
      if (hours < oldestFullHours) continue;
      problems.push(
        problem(
          "backup-old",
          `the newest full backup of repository ${number} is ${hours} hours old`,
          "ctm backup full",
        ),
      );
    }
  }
  for (const { label, damaged } of backups) {
    if (!damaged) continue;
    problems.push(
      problem(
        "backup-damaged",
        `${label} holds pages whose checksums are wrong`,
        "ctm backup full",
      ),
    );
  }
  return problems;
}

function judgeApi(descriptor: Descriptor, { api, services }: Probes): Finding[] {
  const own = servicesOf(descriptor, "api");
  // Its service was named already.
  if (stopped(services.facts ?? []).some(({ name }) => own.includes(name))) return [];
  return failed("api-not-ready", "the API is not ready", api, `ctm logs ${own[0] ?? "api"}`);
}

function judgeTunnel(descriptor: Descriptor, { tunnel, services }: Probes): Finding[] {
  const own = servicesOf(descriptor, "tunnel");
  // Its service was named already.
  if (stopped(services.facts ?? []).some(({ name }) => own.includes(name))) return [];
  const logs = `ctm logs ${own[0] ?? "cloudflared"}`;
  if (tunnel.facts?.connections === 0) {
    return [
      problem(
        "tunnel-not-connected",
        "cloudflared has no connection to Cloudflare: nobody outside reaches the API",
        logs,
      ),
    ];
  }
  return failed("tunnel-unknown", "cloudflared cannot be asked", tunnel, logs);
}

function servicesOf(
  { services }: Descriptor,
  wanted: Descriptor["services"][number]["kind"],
): string[] {
  return services.filter(({ kind }) => kind === wanted).map(({ name }) => name);
}

function stopped(services: NonNullable<StatusDocument["services"]>) {
  return services.filter(({ state }) => state !== "RUNNING");
}

function problem(code: string, message: string, next: string): Finding {
  return { code, message, next };
}
