import { expect, test } from "vitest";
import type { Descriptor } from "#stack";
import { createPaint } from "../paint.ts";
import type { Backup, RepositoryFacts } from "../facts/repository.ts";
import type { CopierState } from "../recovery/copier/state.ts";
import { nearRepositories } from "../recovery/archive.ts";
import { fakeListing } from "../recovery/testing/fake-listing.ts";
import { fakeDescriptor } from "../testing/fake-descriptor.ts";
import type { Probes } from "./gather.ts";
import { describe } from "./index.ts";
import { judge, warnOfSynchrony } from "./judge.ts";
import { render } from "./render.ts";

const now = new Date("2026-11-24T12:00:00Z");
const descriptor: Descriptor = fakeDescriptor();
const [near] = nearRepositories(descriptor);

function good<T>(facts: T) {
  return { facts, failure: null };
}
function dead(failure: string) {
  return { facts: null, failure };
}

/** The archive's one timeline. */
const whole = { timeline: 3, first: 0x10, last: 0xa1, forks: [] };

/** What a healthy stack of two members answers. */
function healthy(): Probes {
  const full: Backup = {
    label: "20261124-020000F",
    type: "full",
    repository: 1,
    prior: null,
    startedAt: new Date("2026-11-24T02:00:00Z"),
    stoppedAt: new Date("2026-11-24T02:01:00Z"),
    databaseBytes: 1000,
    storedBytes: 100,
    firstWal: "000000030000000000000010",
    lastWal: "000000030000000000000010",
    startLsn: "0/10000028",
    stopLsn: "0/10000100",
    archiveId: "15-1",
    damaged: false,
  };
  const incremental: Backup = {
    ...full,
    label: "20261124-020000F_20261124-113000I",
    type: "incr",
    prior: full.label,
    startedAt: new Date("2026-11-24T11:30:00Z"),
    stoppedAt: new Date("2026-11-24T11:30:10Z"),
    firstWal: "000000030000000000000090",
    lastWal: "000000030000000000000090",
    startLsn: "0/90000028",
    stopLsn: "0/90000100",
  };
  const repository: RepositoryFacts = {
    running: false,
    repositories: [
      {
        number: 1,
        status: "ok",
        ok: true,
        cipher: "aes-256-cbc",
        oldestWal: "000000030000000000000010",
        newestWal: "0000000300000000000000A1",
      },
    ],
    backups: [full, incremental],
  };
  const either = { timeline: 3, unreachable: null };
  return {
    services: good(descriptor.services.map(({ name }) => ({ name, state: "RUNNING" }))),
    cluster: good({
      leader: "node-1",
      paused: false,
      version: "15.18",
      members: [
        { ...either, name: "node-1", role: "leader", state: "running", lagBytes: null },
        { ...either, name: "node-2", role: "sync_standby", state: "streaming", lagBytes: 128 },
      ],
    }),
    rw: good({ address: "127.0.0.1", port: 5501, inRecovery: false }),
    ro: good({ address: "127.0.0.1", port: 5502, inRecovery: true }),
    archiver: good({
      lastWal: "0000000300000000000000A1",
      lastArchivedAt: new Date("2026-11-24T11:59:02Z"),
      completed: new Map([["0000000300000000000000A1", new Date("2026-11-24T11:59:00Z")]]),
      failing: false,
      failedWal: null,
      failedAt: null,
      waiting: 0,
      waitingSince: null,
      timeoutSeconds: 60,
    }),
    repository: good(repository),
    archive: good(fakeListing([whole], repository.backups)),
    far: good(undefined),
    api: good({ version: "0.1.0", pools: [{ name: "primary", busy: 1, max: 10, waiting: 0 }] }),
    tunnel: good({ connections: 4 }),
    schema: good({ version: "002", pending: 0 }),
    drill: good({ last: null }),
    restore: good({ state: null }),
    measurements: good([]),
  };
}

/** A far copy that lacks nothing. */
const copied: CopierState = {
  at: "2026-11-24T11:59:55Z",
  complete_at: "2026-11-24T11:59:55Z",
  behind_bytes: 0,
  behind_files: 0,
  behind_since: null,
  newest_wal: "0000000300000000000000A1",
  failing_since: null,
  error: null,
};

test("a far copy that was just missed is no problem", () => {
  const failing = { failing_since: "2026-11-24T11:58:00Z", error: "connection refused" };
  const probes = { ...healthy(), far: good({ ...copied, ...failing }) };
  expect(judge(descriptor, probes, now)).toEqual([]);
});

test("a healthy stack has no problem", () => {
  expect(judge(descriptor, healthy(), now)).toEqual([]);
});

test("a replica that streams has not replayed the switch of timelines yet", () => {
  const probes = healthy();
  member(1, { timeline: 2 })(probes);
  expect(judge(descriptor, probes, now)).toEqual([]);
});

type Change = (probes: Probes) => void;

/** Changes one field of what a part said. */
function set<Part extends keyof Probes>(
  part: Part,
  change: Partial<NonNullable<Probes[Part]["facts"]>>,
): Change {
  return (probes) => Object.assign(probes[part].facts ?? {}, change);
}

function member(index: number, change: object): Change {
  return ({ cluster }) => Object.assign(cluster.facts?.members[index] ?? {}, change);
}

function service(name: string, state: string | null): Change {
  return ({ services }) =>
    Object.assign(services.facts?.find((each) => each.name === name) ?? {}, { state });
}

const repair =
  'npm run up; where ALTER SYSTEM set it: ctm psql --role postgres -- -c "ALTER SYSTEM RESET archive_timeout" -c "SELECT pg_reload_conf()"';

test.each<[string, Change, string]>([
  [
    "a service is down",
    service("api", "FATAL"),
    "service-not-running: api is FATAL -> ctm logs api",
  ],
  [
    "a service was stopped",
    service("api", "STOPPED"),
    "service-not-running: api is STOPPED -> ctm start",
  ],
  [
    "supervisord has lost a program",
    service("api", null),
    "service-not-running: api is unknown to supervisord -> npm run up",
  ],
  [
    "no leader",
    set("cluster", { leader: null }),
    "no-leader: the cluster has no leader -> ctm logs etcd",
  ],
  [
    "a member's Patroni is dead",
    member(1, { unreachable: "connect ECONNREFUSED", state: null, timeline: null }),
    "member-unreachable: node-2: Patroni does not answer: connect ECONNREFUSED -> ctm logs node-2",
  ],
  [
    "a replica does not stream",
    member(1, { state: "running" }),
    "member-not-streaming: node-2 is running and does not stream from node-1 -> ctm logs node-2",
  ],
  [
    "a replica is left on an old timeline",
    member(1, { state: "running", timeline: 2 }),
    "member-not-streaming: node-2 is running and does not stream from node-1; it is on timeline 2, node-1 on 3 -> ctm logs node-2",
  ],
  [
    "the leader starts",
    member(0, { state: "starting" }),
    "leader-not-running: node-1 leads and is starting -> ctm logs node-1",
  ],
  [
    "failover is off",
    set("cluster", { paused: true }),
    "cluster-paused: automatic failover is off -> patronictl -c /state/node-1/patroni.yml resume main",
  ],
  [
    "Patroni cannot be asked",
    (probes) => (probes.cluster = dead("no CA")),
    "cluster-unknown: Patroni cannot be asked: no CA -> ctm doctor",
  ],
  [
    "the read-write port leads to a replica",
    set("rw", { inRecovery: true }),
    "read-write-on-replica: the read-write port leads to a replica -> ctm logs proxy",
  ],
  [
    "the read-only port is closed",
    (probes) => (probes.ro = dead("connect ECONNREFUSED")),
    "read-only-closed: the read-only port does not answer: connect ECONNREFUSED -> ctm doctor",
  ],
  [
    "archiving fails",
    set("archiver", {
      failing: true,
      failedWal: "0000000300000000000000A2",
      failedAt: new Date("2026-11-24T11:59:30Z"),
      waiting: 4,
    }),
    "archiving-fails: archiving 0000000300000000000000A2 failed at 2026-11-24T11:59:30.000Z; 4 segments wait -> ctm logs node-1",
  ],
  [
    "archiving is slow",
    set("archiver", { waiting: 12, waitingSince: new Date("2026-11-24T11:49:00Z") }),
    "archive-behind: 12 segments wait to be archived, the oldest for 11 minutes -> ctm logs node-1",
  ],
  [
    "the repository lacks what was archived",
    set("archiver", { lastWal: "0000000300000000000000A4" }),
    "wal-missing: the server archived 0000000300000000000000A4, the repository's newest segment is 0000000300000000000000A1 -> ctm backup full",
  ],
  [
    "no full backup",
    set("repository", { backups: [] }),
    "no-full-backup: repository 1 holds no full backup -> ctm backup full",
  ],
  [
    "the full backup is old",
    ({ repository }) =>
      Object.assign(repository.facts?.backups[0] ?? {}, {
        stoppedAt: new Date("2026-11-23T10:59:00Z"),
      }),
    "backup-old: the newest full backup of repository 1 is 25 hours old -> ctm backup full",
  ],
  [
    "a backup is damaged",
    ({ repository }) => Object.assign(repository.facts?.backups[0] ?? {}, { damaged: true }),
    "backup-damaged: 20261124-020000F holds pages whose checksums are wrong -> ctm backup full",
  ],
  [
    "pgBackRest does not know the stanza",
    set("repository", { repositories: [] }),
    `repository-missing: repository 1 is not in ${near?.path}: it was moved, or its disk is not mounted -> bring it back; npm run up makes an empty one`,
  ],
  [
    "the repository cannot be read",
    (probes) => (probes.repository = dead("pgBackRest ended with exit code 55")),
    "repository-unreadable: pgBackRest ended with exit code 55 -> ctm doctor",
  ],
  [
    "the API is not ready",
    (probes) => (probes.api = dead("/ready answers 503")),
    "api-not-ready: the API is not ready: /ready answers 503 -> ctm logs api",
  ],
  [
    "the tunnel has lost Cloudflare",
    set("tunnel", { connections: 0 }),
    "tunnel-not-connected: cloudflared has no connection to Cloudflare: nobody outside reaches the API -> ctm logs cloudflared",
  ],
  [
    "cloudflared hangs",
    (probes) => (probes.tunnel = dead("no answer within 3 s")),
    "tunnel-unknown: cloudflared cannot be asked: no answer within 3 s -> ctm logs cloudflared",
  ],
  [
    "WAL is missing in the middle",
    (probes) => {
      const missing = new Set(["000000030000000000000020"]);
      const backups = probes.repository.facts?.backups ?? [];
      probes.archive = good(fakeListing([whole], backups, missing));
    },
    "wal-gap: repository near lacks 000000030000000000000020 to 000000030000000000000020 (1 segment, timeline 3): no recovery passes it -> ctm backup audit",
  ],
  [
    "the far copy is behind",
    (probes) => (probes.far = good({ ...copied, behind_since: "2026-11-24T11:40:00Z" })),
    "far-behind: the far copy is 20 min behind, and the RPO is 15 min -> ctm logs copier",
  ],
  [
    "the far place cannot be reached",
    (probes) => {
      const failing = { failing_since: "2026-11-24T11:44:00Z", error: "connection refused" };
      probes.far = good({ ...copied, ...failing, behind_files: null, behind_bytes: null });
    },
    "far-behind: the far copy is 16 min behind, and the RPO is 15 min: connection refused -> ctm logs copier",
  ],
  [
    "the copier says nothing any more",
    (probes) => (probes.far = good({ ...copied, at: "2026-11-24T11:30:00Z" })),
    "far-behind: the far copy is 30 min behind, and the RPO is 15 min -> ctm logs copier",
  ],
  [
    "the copier never said anything",
    (probes) => (probes.far = dead("the copier has not written anything yet")),
    "far-unknown: the far copy is unknown: the copier has not written anything yet -> ctm logs copier",
  ],
  [
    "work waits longer than the RPO",
    set("archiver", { timeoutSeconds: 1200 }),
    `rpo-exceeded: work of the last 20 min is not archived yet, and the RPO is 15 min: archive_timeout is 1200 s -> ${repair}`,
  ],
  [
    "the ledger cannot be read",
    (probes) => (probes.schema = dead("permission denied")),
    "schema-unknown: the migrations cannot be read: permission denied -> ctm doctor",
  ],
  [
    "this user may not ask",
    (probes) => {
      probes.services = { facts: null, failure: null };
      probes.rw = { facts: null, failure: null };
    },
    "no-permission: this user may not ask about services, rw -> run as the user that ran up (often root)",
  ],
])("one problem is named when %s", (_, change, expected) => {
  const probes = healthy();
  change(probes);
  const problems = judge(descriptor, probes, now);
  expect(problems.map(({ code, message, next }) => `${code}: ${message} -> ${next}`)).toEqual([
    expected,
  ]);
});

test("a stopped stack is one problem, and what cannot be known is null", () => {
  const refused = dead("connect ECONNREFUSED");
  const probes: Probes = {
    ...healthy(),
    services: dead("supervisord does not answer"),
    cluster: good({
      leader: null,
      paused: null,
      version: null,
      members: ["node-1", "node-2"].map((name) => ({
        name,
        role: null,
        state: null,
        timeline: null,
        lagBytes: null,
        unreachable: "connect ECONNREFUSED",
      })),
    }),
    rw: refused,
    ro: refused,
    archiver: refused,
    api: refused,
    schema: refused,
  };
  const status = describe(fakeStack, probes, now);
  expect(status.problems).toEqual([
    {
      code: "stack-stopped",
      message: "nothing of the stack runs: supervisord does not answer",
      next: "ctm start",
    },
  ]);
  expect(status).toMatchObject({
    healthy: false,
    postgres: {
      version: null,
      primary: null,
      members: [
        { name: "node-1", role: null, state: null, timeline: null, lag_bytes: null },
        { name: "node-2", role: null, state: null, timeline: null, lag_bytes: null },
      ],
      rw: { host: "127.0.0.1", port: 5500, database: "taskmaster", reachable: false },
    },
    services: null,
    backup: {
      last_full_at: "2026-11-24T02:01:00.000Z",
      recoverable_from: "2026-11-24T02:01:00.000Z",
      recoverable_to: null,
      gaps: [],
      archive: null,
      last_drill: null,
    },
    api: { version: null, ready: false, pools: null },
    schema: { version: null, pending: null },
    alerts: { firing: null },
  });
});

test("a healthy stack fits on one screen, and its last line says what is next", () => {
  const screen = render(describe(fakeStack, healthy(), now), createPaint({}, {}));
  expect(screen).toBe(`local is healthy  PostgreSQL 15.18, 2026-11-24 12:00:00Z

MEMBER  ROLE          STATE      TIMELINE  LAG
node-1  leader        running    3
node-2  sync_standby  streaming  3         128 B

read-write  127.0.0.1:5500/taskmaster, leads to node-1
read-only   127.0.0.1:5499/taskmaster, leads to node-2
API         http://127.0.0.1:8080, ready, version 0.1.0
pools       primary 1 of 10
Cloudflare  off
services    5 of 5 run
schema      version 002, nothing pending
backups     newest full 2026-11-24 02:01:00Z (10 h ago), 2 in repository 1
schedule    full daily at 02:00 UTC, incremental every 60 min (from the RTO)
RPO and RTO at most 60 s of work is not archived (RPO 15 min), a restore takes about 18 s (RTO 30 min)
recoverable 2026-11-24 02:01:00Z to 2026-11-24 11:59:00Z, no gap
far copy    off
archive     newest segment 0000000300000000000000A1, nothing waits
drill       none yet
alerts      not watched yet

next: ctm psql`);
});

test("a schedule that is not kept warns, and the stack is healthy", () => {
  const probes = healthy();
  probes.repository.facts?.backups.pop();
  const status = describe(fakeStack, probes, now);
  expect(status).toMatchObject({ healthy: true, problems: [] });
  expect(status.warnings).toEqual([
    {
      code: "backup-late",
      message: "the newest backup is 10 h old, and one is due every 60 min",
      next: "ctm backup incr",
    },
  ]);
  const screen = render(status, createPaint({}, {}));
  expect(screen).toContain("\n  backup-late: the newest backup is 10 h old");
  expect(screen.split("\n").at(-1)).toBe("next: ctm backup incr");
});

test("no synchronous standby is a warning, where one is to be", () => {
  const probes = healthy();
  const standby = probes.cluster.facts?.members.find(({ role }) => role === "sync_standby");
  if (standby === undefined) throw new Error("the healthy stack has no synchronous standby");
  standby.role = "replica";
  expect(describe(fakeStack, probes, now)).toMatchObject({
    healthy: true,
    warnings: [
      { code: "no-synchronous-standby", next: expect.stringContaining("ctm logs node-1") },
    ],
  });
  const postgres = { ...descriptor.postgres, synchronous: false };
  expect(warnOfSynchrony({ ...descriptor, postgres }, probes)).toEqual([]);
  // Then its problem says enough.
  standby.state = "running";
  expect(warnOfSynchrony(descriptor, probes)).toEqual([]);
});

test("what the repository lacks is not called recoverable", () => {
  const probes = healthy();
  set("archiver", { lastWal: "0000000300000000000000A4" })(probes);
  expect(describe(fakeStack, probes, now).backup.recoverable_to).toBeNull();
});

const fakeStack = {
  descriptor,
  paths: {
    stack: "local",
    state: "/state",
    run: "/run",
    log: "/log",
    kept: "/kept",
    pulumi: "/pulumi",
    repository: "/state/repository",
    descriptor: "/state/descriptor.json",
    edge: "/state/edge.json",
    credentials: "/state/credentials",
    tls: "/state/tls",
  },
};

test("a restore that awaits a decision is shown, and one that was ended is a problem", () => {
  const state = {
    format: 1 as const,
    step: "done" as const,
    startedAt: "2026-11-24T11:00:00Z",
    target: "2026-11-24 10:59:00Z",
    member: "node-1",
    kept: "/data.before",
    timeline: 2,
    promoted: true,
    expiresAt: "2026-12-01T11:00:00Z",
  };
  const statusAt = (restore: Probes["restore"]) =>
    describe(fakeStack, { ...healthy(), restore }, now);

  const done = statusAt(good({ state }));
  expect(done).toMatchObject({ healthy: true, restore: { step: "done", kept: "/data.before" } });
  expect(render(done, createPaint({}, {}))).toContain(
    "to 2026-11-24 10:59:00Z; the data of before is in /data.before until 2026-12-01 11:00:00Z: ctm restore --confirm or --undo",
  );
  const ended = statusAt(good({ state: { ...state, step: "moving", expiresAt: null } }));
  expect(ended.problems.map(({ code }) => code)).toEqual(["restore-half-done"]);
  expect(statusAt(dead("torn")).problems.map(({ code }) => code)).toEqual(["restore-unknown"]);
  expect(statusAt(good({ state: null })).restore).toBeNull();
});
