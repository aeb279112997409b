import { rename, rm, stat } from "node:fs/promises";
import { programStates, startProgram, waitForLeader } from "#runtime";
import { readCredential, type Descriptor, type MemberDescriptor } from "#stack";
import { CtmError, exists, makeDirectory, waitFor } from "#system";
import { pgbackrest } from "../../infra/backup/pgbackrest.ts";
import { asSuperuser, provisioningOf, type Provisioning } from "../../infra/postgres/connection.ts";
import { forgetHistory } from "../../infra/postgres/etcd.ts";
import { clusterOf, endpointsOf } from "../../infra/postgres/patroni.ts";
import { scramVerifier } from "../../infra/provider/types/secret.ts";
import type { Stack } from "../open-stack.ts";
import { openPorts } from "./cluster-stop.ts";
import { watchStandbys } from "./standby-watch.ts";

/** Patroni starts the server, replays what a crash left, and takes the leader's role. */
const leaderTimeoutMs = 10 * 60_000;
/** Cloning a standby: pg_basebackup of a large database takes its time. */
const standbyTimeoutMs = 6 * 3_600_000;
const checkTimeoutMs = 180_000;

/** Every role that logs in with a password; those that did not exist yet are `up`'s to make. */
const logins = ["ctm_migrator", "ctm_api", "ctm_query", "ctm_monitor", "ctm_replicator"] as const;

/**
 * Hands a member's data over to Patroni, makes the standbys anew from it, opens the ports and proves
 * that WAL is archived. No member may run.
 *
 * @param options.standbys `anew` where the member's data is not what they had
 * @returns the timeline on which the member leads
 * @throws CtmError `etcd-unreachable`, `deadline-passed`, `command-failed`
 */
export async function startClusterOn(
  { descriptor, paths }: Stack,
  member: MemberDescriptor,
  options: { standbys: "anew" | "as they are"; report: (line: string) => void },
): Promise<{ timeline: number }> {
  const { report } = options;
  const standbys = descriptor.postgres.members.filter(({ name }) => name !== member.name);
  // The proxy is closed.
  const direct = { ...provisioningOf(descriptor), host: member.host, port: member.port };
  await forgetHistory(descriptor);
  report(`starting ${member.name}`);
  await startProgram(descriptor.supervisor, member.name);
  let shown = "";
  const timeline = await waitFor(
    `${member.name} to lead`,
    leaderTimeoutMs,
    async () => {
      const { members } = await clusterOf(endpointsOf(descriptor));
      const found = members.find(({ name }) => name === member.name);
      const state = found === undefined ? "not known yet" : `${found.role} ${found.state}`;
      if (state !== shown) report(`waiting for ${member.name} to lead: ${(shown = state)}`);
      if (state !== "leader running") throw new Error(state);
      // Patroni has the role before the server has promoted.
      return await asSuperuser(direct, "postgres", async (client) => {
        const { rows } = await client.query<{ timeline: number | null }>(
          `SELECT CASE WHEN NOT pg_is_in_recovery()
                    THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
                  END AS timeline`,
        );
        const writes = rows[0]?.timeline ?? undefined;
        if (writes === undefined) throw new Error("not writable yet");
        return writes;
      });
    },
    { intervalMs: 300, next: `ctm logs ${member.name}` },
  );
  report("setting the passwords that this stack has now");
  await renewPasswords(paths, direct);
  for (const standby of standbys) {
    if (options.standbys === "anew") await emptyDirectory(standby.dataDirectory);
    await startProgram(descriptor.supervisor, standby.name);
  }
  report("opening the ports");
  await openPorts(descriptor);
  await waitForLeader(descriptor, { report });
  report("switching a WAL segment and waiting for it in the repository");
  await pgbackrest(
    {
      configuration: member.backrestConfiguration,
      stanza: descriptor.backup.stanza,
      user: descriptor.users.postgres,
    },
    ["check"],
    { timeoutMs: checkTimeoutMs },
  );
  return { timeline };
}

/**
 * Waits until every standby runs, for hours while it is copied, and no longer than it takes to see
 * that one cannot come. Patroni goes on trying in every case.
 *
 * @throws CtmError `interrupted`, `standby-failed`, `deadline-passed`
 */
export async function waitForStandbys(
  descriptor: Descriptor,
  signal: AbortSignal,
  report: (line: string) => void,
): Promise<void> {
  const configured = descriptor.postgres.members;
  const watch = watchStandbys();
  let shown = "";
  const failure = await waitFor(
    "every standby to stream",
    standbyTimeoutMs,
    async () => {
      if (signal.aborted) {
        return new CtmError("interrupted", "the standbys were not waited for", {
          next: "ctm status shows when they stream",
        });
      }
      const [{ members }, programs] = await Promise.all([
        clusterOf(endpointsOf(descriptor)),
        programStates(descriptor.supervisor),
      ]);
      const states = members.map(({ name, role, state }) => `${name} ${role} ${state}`).join(", ");
      if (states !== shown) report(`waiting for the standbys: ${(shown = states)}`);
      const ready = members.filter(
        ({ role, state }) => role === "leader" || ["streaming", "running"].includes(state),
      );
      if (ready.length === configured.length) return null;
      const sights = configured.map(({ name }) => ({
        name,
        state: members.find((each) => each.name === name)?.state,
        program: programs?.get(name),
      }));
      const failed = watch(sights, Date.now());
      if (failed === undefined) return undefined;
      return new CtmError("standby-failed", `${failed.name} does not come: ${failed.why}`, {
        next: `ctm logs ${failed.name}; Patroni goes on trying`,
      });
    },
    { intervalMs: 500, next: "ctm status" },
  );
  if (failure !== null) throw failure;
}

/** Passwords changed after the target are in the credentials and not in the data. */
async function renewPasswords(paths: Stack["paths"], direct: Provisioning): Promise<void> {
  await asSuperuser(direct, "postgres", async (client) => {
    const { rows } = await client.query<{ rolname: string }>(
      "SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)",
      [logins],
    );
    for (const login of logins) {
      if (!rows.some(({ rolname }) => rolname === login)) continue;
      const verifier = scramVerifier(await readCredential(paths, login));
      await client.query(`ALTER ROLE ${login} PASSWORD ${client.escapeLiteral(verifier)}`);
    }
  });
}

/** Aside first, by its name: what is half removed must not be taken for a server's data. */
async function emptyDirectory(directory: string): Promise<void> {
  const aside = `${directory}.discarded`;
  await rm(aside, { recursive: true, force: true });
  if (!(await exists(directory))) return;
  const { uid, gid, mode } = await stat(directory);
  await rename(directory, aside);
  await makeDirectory(directory, { mode: mode & 0o777, owner: { uid, gid } });
  await rm(aside, { recursive: true, force: true });
}
