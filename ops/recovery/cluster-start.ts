import { rename, rm, stat } from "node:fs/promises";
import { startProgram, waitForLeader } from "#runtime";
import { readCredential, type Descriptor, type MemberDescriptor } from "#stack";
import { exists, makeDirectory, waitFor } from "#system";
import { pgbackrest } from "../../infra/backup/pgbackrest.ts";
import { asSuperuser, provisioningOf, type Provisioning } from "../../infra/postgres/connection.ts";
import { forgetHistory } from "../../infra/postgres/etcd.ts";
import { clusterOf, endpointsOf } from "../../infra/postgres/patroni.ts";
import { scramVerifier } from "../../infra/provider/types/secret.ts";
import type { Stack } from "../open-stack.ts";
import { openPorts } from "./cluster-stop.ts";

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
 * @throws CtmError `etcd-unreachable`, `deadline-passed`, `command-failed`
 */
export async function startClusterOn(
  { descriptor, paths }: Stack,
  member: MemberDescriptor,
  options: { standbys: "anew" | "as they are"; report: (line: string) => void },
): Promise<void> {
  const { report } = options;
  const standbys = descriptor.postgres.members.filter(({ name }) => name !== member.name);
  // The proxy is closed.
  const direct = { ...provisioningOf(descriptor), host: member.host, port: member.port };
  await forgetHistory(descriptor);
  report(`starting ${member.name}`);
  await startProgram(descriptor.supervisor, member.name);
  let shown = "";
  await waitFor(
    `${member.name} to lead`,
    leaderTimeoutMs,
    async () => {
      const { members } = await clusterOf(endpointsOf(descriptor));
      const found = members.find(({ name }) => name === member.name);
      const state = found === undefined ? "not known yet" : `${found.role} ${found.state}`;
      if (state !== shown) report(`waiting for ${member.name} to lead: ${(shown = state)}`);
      if (state !== "leader running") throw new Error(state);
      // Patroni has the role before the server has promoted.
      await asSuperuser(direct, "postgres", async (client) => {
        const { rows } = await client.query("SELECT pg_is_in_recovery() AS standby");
        if (rows[0]?.["standby"] !== false) throw new Error("not writable yet");
      });
      return true;
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
}

/** Waits until every standby streams from the leader. */
export async function waitForStandbys(
  descriptor: Descriptor,
  report: (line: string) => void,
): Promise<void> {
  let shown = "";
  await waitFor(
    "every standby to stream",
    standbyTimeoutMs,
    async () => {
      const { members } = await clusterOf(endpointsOf(descriptor));
      const states = members.map(({ name, role, state }) => `${name} ${role} ${state}`).join(", ");
      if (states !== shown) report(`waiting for the standbys: ${(shown = states)}`);
      const ready = members.filter(
        ({ role, state }) => role === "leader" || ["streaming", "running"].includes(state),
      );
      return ready.length === descriptor.postgres.members.length ? true : undefined;
    },
    { intervalMs: 500, next: "ctm status" },
  );
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
