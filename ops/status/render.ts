import { table, type Paint } from "../paint.ts";
import { bytesText, countText, durationText, timeText } from "../text.ts";
import { objectivesText, scheduleText, warningLines } from "../recovery/render-objectives.ts";
import type { StatusDocument } from "./document.ts";

/** One screen for somebody on call: verdict first, then the parts, then what to do. */
export function render(status: StatusDocument, paint: Paint): string {
  const { stack, healthy, problems, warnings, postgres } = status;
  const title = healthy
    ? `${stack} is ${paint.good("healthy")}`
    : `${stack} has ${paint.bad(countText(problems.length, "problem"))}`;
  const version = postgres.version === null ? "" : `PostgreSQL ${postgres.version}, `;
  return [
    `${paint.bold(title)}  ${paint.dim(`${version}${timeText(status.checked_at)}`)}`,
    ...problems.flatMap(({ code, message, next }) => [
      `  ${paint.bad(code)}: ${message}`,
      `    next: ${next}`,
    ]),
    ...warningLines(warnings, paint),
    "",
    members(status, paint),
    "",
    ...parts(status, paint).map(([name, text]) => `${paint.dim(name.padEnd(11))} ${text}`),
    "",
    `next: ${nextStep(status)}`,
  ].join("\n");
}

function members({ postgres }: StatusDocument, paint: Paint): string {
  const unknown = paint.bad("unknown");
  const rows = postgres.members.map(({ name, role, state, timeline, lag_bytes }) => [
    name,
    role ?? unknown,
    state === null ? unknown : /^(running|streaming)$/.test(state) ? state : paint.warning(state),
    timeline === null ? unknown : String(timeline),
    role === "leader" || role === "standby_leader"
      ? ""
      : lag_bytes === null
        ? unknown
        : bytesText(lag_bytes),
  ]);
  return table([["MEMBER", "ROLE", "STATE", "TIMELINE", "LAG"], ...rows], paint);
}

function parts(status: StatusDocument, paint: Paint): [string, string][] {
  const { postgres, api, schema, backup } = status;
  const unknown = paint.bad("unknown");
  const door = ({ host, port, database, member, reachable }: StatusDocument["postgres"]["rw"]) => {
    const answer =
      reachable === null
        ? unknown
        : !reachable
          ? paint.bad("does not answer")
          : member === null
            ? "answers"
            : `leads to ${member}`;
    return `${host}:${port}/${database}, ${answer}`;
  };
  return [
    ["read-write", door(postgres.rw)],
    ["read-only", door(postgres.ro)],
    [
      "API",
      `${api.url}, ${api.ready ? `ready${api.version === null ? "" : `, version ${api.version}`}` : paint.bad("not ready")}`,
    ],
    ["pools", pools(status, paint)],
    ["Cloudflare", edge(status, paint)],
    ["services", services(status, paint)],
    [
      "schema",
      schema.version === null && schema.pending === null
        ? unknown
        : `${schema.version === null ? "empty" : `version ${schema.version}`}, ${schema.pending === 0 ? "nothing pending" : paint.warning(`${schema.pending} pending`)}`,
    ],
    ["backups", backups(status, paint)],
    ["schedule", scheduleText(backup.schedule)],
    ["RPO and RTO", objectivesText(backup.objectives)],
    ["recoverable", window(status, paint)],
    ["far copy", farCopy(status, paint)],
    [
      "archive",
      backup.archive === null
        ? unknown
        : `newest segment ${newestHeld(backup)}, ${backup.archive.waiting_segments === 0 ? "nothing waits" : countText(backup.archive.waiting_segments, "segment waits", "segments wait")}${backup.archive.failing ? paint.bad(", the last attempt failed") : ""}`,
    ],
    [
      "drill",
      backup.last_drill === null
        ? "none yet"
        : `${timeText(backup.last_drill.at)} ${backup.last_drill.ok ? "passed" : paint.bad("failed")}, RTO ${measured(backup.last_drill.rto_ms)}, RPO ${measured(backup.last_drill.rpo_ms)}`,
    ],
    ...(status.restore === null ? [] : [["restore", restored(status.restore)] as [string, string]]),
    [
      "alerts",
      status.alerts.firing === null
        ? "not watched yet"
        : status.alerts.firing.length === 0
          ? "none fires"
          : paint.bad(status.alerts.firing.map(({ name }) => name).join(", ")),
    ],
  ];
}

function restored({
  target,
  step,
  kept,
  expires_at,
}: NonNullable<StatusDocument["restore"]>): string {
  if (step !== "done") return `to ${target}, in its step "${step}"`;
  const until = expires_at === null ? "" : ` until ${timeText(expires_at)}`;
  return `to ${target}; the data of before is in ${kept}${until}: ctm restore --confirm or --undo`;
}

function measured(ms: number | null): string {
  return ms === null ? "unknown" : durationText(ms);
}

/** The newest segment that is in every near repository. */
function newestHeld({ repositories }: StatusDocument["backup"]): string {
  if (repositories === null) return "unknown";
  return (
    repositories
      .filter(({ kind }) => kind === "posix")
      .map(({ newest_wal }) => newest_wal ?? "none")
      .toSorted()[0] ?? "none"
  );
}

function pools({ api }: StatusDocument, paint: Paint): string {
  if (api.pools === null) return paint.bad("unknown");
  return api.pools
    .map(({ name, busy, max, waiting }) => {
      const use = `${name} ${busy} of ${max}`;
      return waiting === 0 ? use : paint.warning(`${use} and ${waiting} waiting`);
    })
    .join(", ");
}

function edge({ edge: before }: StatusDocument, paint: Paint): string {
  if (before === null) return "off";
  const { url, connections } = before;
  if (connections === null) return `${url}, ${paint.bad("unknown")}`;
  const text = countText(connections, "connection");
  return `${url}, ${connections === 0 ? paint.bad(text) : text}`;
}

function services({ services: all }: StatusDocument, paint: Paint): string {
  if (all === null) return paint.bad("unknown");
  const running = all.filter(({ state }) => state === "RUNNING").length;
  const others = all
    .filter(({ state }) => state !== "RUNNING")
    .map(({ name, state }) => paint.bad(`${name} ${state ?? "unknown"}`));
  return [`${running} of ${all.length} run`, ...others].join(", ");
}

function backups({ backup, checked_at }: StatusDocument, paint: Paint): string {
  if (backup.repositories === null) return paint.bad("unknown");
  const counts = backup.repositories
    .filter(({ kind }) => kind === "posix")
    .map(({ number, backups: held }) => `${held ?? 0} in repository ${number}`)
    .join(", ");
  const running = backup.running === true ? ", one runs now" : "";
  if (backup.last_full_at === null) return `${paint.bad("no full one")}, ${counts}${running}`;
  const age = Date.parse(checked_at) - Date.parse(backup.last_full_at);
  return `newest full ${timeText(backup.last_full_at)} (${durationText(age)} ago), ${counts}${running}`;
}

function farCopy({ backup }: StatusDocument, paint: Paint): string {
  const copies = (backup.repositories ?? []).filter(({ kind }) => kind === "s3");
  if (copies.length === 0) return "off";
  return copies
    .map(({ path, status, newest_wal, behind_bytes, behind_ms }) => {
      const lag =
        behind_ms === null || behind_bytes === null
          ? paint.bad("lag unknown")
          : behind_ms === 0
            ? "nothing behind"
            : `${bytesText(behind_bytes)} and ${durationText(behind_ms)} behind`;
      const failure =
        status === null || status === "ok" ? "" : paint.bad(", the last attempt failed");
      return `${path}, newest segment ${newest_wal ?? "none"}, ${lag}${failure}`;
    })
    .join("; ");
}

function window({ backup }: StatusDocument, paint: Paint): string {
  if (backup.repositories === null) return paint.bad("unknown");
  if (backup.recoverable_from === null) return paint.bad("nothing");
  const to =
    backup.recoverable_to === null ? paint.bad("unknown") : timeText(backup.recoverable_to);
  const gaps =
    backup.gaps === null
      ? "not audited for gaps"
      : backup.gaps.length === 0
        ? "no gap"
        : paint.bad(countText(backup.gaps.length, "gap"));
  return `${timeText(backup.recoverable_from)} to ${to}, ${gaps}`;
}

function nextStep({ problems, warnings, schema }: StatusDocument): string {
  const [first] = [...problems, ...warnings];
  if (first !== undefined) return first.next;
  return schema.pending === 0 || schema.pending === null ? "ctm psql" : "ctm migrate up";
}
