import type { Descriptor } from "#stack";
import { isBehind } from "../facts/window.ts";
import type { Problem, StatusDocument } from "./document.ts";
import type { Probes } from "./gather.ts";

/** Targets of the operations documents: a full backup a day with an hour's grace, WAL in minutes. */
const oldestFullHours = 25;
const oldestWaitingMinutes = 10;

/** What is wrong, the cause before its consequences. */
export function judge(descriptor: Descriptor, probes: Probes, now: Date): Problem[] {
  const { services, cluster, rw, ro } = probes;
  const silent =
    cluster.facts === null ||
    cluster.facts.members.every(({ unreachable }) => unreachable !== null);
  if (services.failure !== null && silent && rw.failure !== null && ro.failure !== null) {
    // One cause, and not the ten consequences of it.
    return [
      problem("stack-stopped", `nothing of the stack runs: ${services.failure}`, "ctm start"),
      ...judgeBackups(descriptor, probes, now),
    ];
  }
  return [
    ...judgeServices(probes),
    ...judgeCluster(descriptor, probes),
    ...judgeDoors(probes),
    ...judgeArchive(probes, now),
    ...judgeBackups(descriptor, probes, now),
    ...judgeApi(descriptor, probes),
    ...(probes.schema.failure === null || rw.failure !== null
      ? []
      : [
          problem(
            "schema-unknown",
            `the migrations cannot be read: ${probes.schema.failure}`,
            "ctm doctor",
          ),
        ]),
  ];
}

function judgeServices({ services }: Probes): Problem[] {
  if (services.facts === null) {
    return [problem("supervisor-unreachable", services.failure, "ctm start")];
  }
  return stopped(services.facts).map(({ name, state }) =>
    problem(
      "service-not-running",
      `${name} is ${state ?? "unknown to supervisord"}`,
      state === null ? "npm run up" : state === "STOPPED" ? "ctm start" : `ctm logs ${name}`,
    ),
  );
}

function judgeCluster(descriptor: Descriptor, { cluster, services }: Probes): Problem[] {
  if (cluster.facts === null) {
    return [
      problem("cluster-unknown", `Patroni cannot be asked: ${cluster.failure}`, "ctm doctor"),
    ];
  }
  const { leader, members, paused } = cluster.facts;
  const down = new Set(stopped(services.facts ?? []).map(({ name }) => name));
  const problems: Problem[] = [];
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
      problems.push(
        problem(
          "member-not-streaming",
          `${name} is ${state} and does not stream from ${leader}`,
          logs,
        ),
      );
    } else if (timeline !== null && leaderTimeline !== null && timeline !== leaderTimeline) {
      problems.push(
        problem(
          "member-on-other-timeline",
          `${name} is on timeline ${timeline}, its leader ${leader} on ${leaderTimeline}`,
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

function judgeDoors({ rw, ro }: Probes): Problem[] {
  const problems: Problem[] = [];
  if (rw.facts === null) {
    problems.push(
      problem(
        "read-write-closed",
        `the read-write port does not answer: ${rw.failure}`,
        "ctm doctor",
      ),
    );
  } else if (rw.facts.inRecovery) {
    problems.push(
      problem("read-write-on-replica", "the read-write port leads to a replica", "ctm logs proxy"),
    );
  }
  if (ro.facts === null) {
    problems.push(
      problem(
        "read-only-closed",
        `the read-only port does not answer: ${ro.failure}`,
        "ctm doctor",
      ),
    );
  }
  return problems;
}

function judgeArchive({ archiver, repository, rw, cluster }: Probes, now: Date): Problem[] {
  const logs = `ctm logs ${cluster.facts?.leader ?? "postgres"}`;
  if (archiver.facts === null) {
    // With the port closed there was nobody to ask.
    if (rw.facts === null) return [];
    return [
      problem(
        "archiving-unknown",
        `the archiver cannot be asked: ${archiver.failure}`,
        "ctm doctor",
      ),
    ];
  }
  const { failing, failedWal, failedAt, waiting, waitingSince, newestWal } = archiver.facts;
  const problems: Problem[] = [];
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
        `the server archived ${newestWal}, the repository's newest segment is ${newest}`,
        "ctm backup full",
      ),
    );
  }
  return problems;
}

function judgeBackups(descriptor: Descriptor, { repository }: Probes, now: Date): Problem[] {
  if (repository.facts === null) {
    return [problem("repository-unreadable", repository.failure, "ctm doctor")];
  }
  const { repositories, backups, running } = repository.facts;
  const problems: Problem[] = [];
  for (const { number } of descriptor.backup.repositories) {
    const found = repositories.find((each) => each.number === number);
    const full = backups.findLast((each) => each.repository === number && each.type === "full");
    if (found === undefined) {
      problems.push(
        problem("repository-missing", `repository ${number} has no stanza`, "npm run up"),
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

function judgeApi(descriptor: Descriptor, { api, services }: Probes): Problem[] {
  if (api.facts !== null) return [];
  const own = descriptor.services.filter(({ kind }) => kind === "api").map(({ name }) => name);
  const known = stopped(services.facts ?? []).some(({ name }) => own.includes(name));
  // Its service was named already.
  if (known) return [];
  return [
    problem("api-not-ready", `the API is not ready: ${api.failure}`, `ctm logs ${own[0] ?? "api"}`),
  ];
}

function stopped(services: NonNullable<StatusDocument["services"]>) {
  return services.filter(({ state }) => state !== "RUNNING");
}

function problem(code: string, message: string | null, next: string): Problem {
  return { code, message: message ?? "", next };
}
