import { z } from "zod";
import { CtmError, waitFor } from "#system";
import { pgbackrest, stanzaInfoOf, type Backrest } from "../../backup/pgbackrest.ts";
import { clusterOf } from "../../postgres/patroni.ts";
import { defineResourceType } from "../resource-type.ts";
import { endpointSchema } from "./cluster.ts";

const inputs = z.strictObject({
  stanza: z.string().min(1),
  /** OS user that runs pgBackRest. */
  user: z.string().min(1),
  /** pgbackrest.conf of each member, by the member's name. */
  configurations: z.record(z.string(), z.string().startsWith("/")),
  endpoints: z.record(z.string(), endpointSchema),
  /** `archiving`: the stanza exists and a WAL segment was seen to arrive. */
  state: z.string(),
  /** Whether a full backup shall exist. */
  fullBackup: z.boolean(),
});
export type StanzaInputs = z.infer<typeof inputs>;

/** A full backup of a large database; the deadline only catches one that hangs. */
const backupTimeoutMs = 24 * 3_600_000;

/** The stanza in the repository, an archive that works, and a first full backup. */
export const stanza = defineResourceType<StanzaInputs, StanzaInputs>({
  token: "ctm:backup:Stanza",
  inputs,
  secrets: [],
  replacedBy: ["stanza"],
  ignoredInDiff: ["configurations", "endpoints", "user"],
  async create(wanted, { report }) {
    await establish(wanted, report);
    return { id: wanted.stanza, outputs: wanted };
  },
  async read(_id, state) {
    const info = await stanzaInfoOf(await leaderBackrest(state));
    if (info === undefined) return undefined;
    return {
      ...state,
      state: info.archive.some(({ max }) => max !== null) ? "archiving" : "nothing archived",
      fullBackup: info.backup.some(({ type, error }) => type === "full" && error !== true),
    };
  },
  async update(_id, _state, wanted, { report }) {
    await establish(wanted, report);
    return wanted;
  },
  async delete() {
    // Gone with the repository, or kept with it.
  },
});

async function establish(wanted: StanzaInputs, report: (line: string) => void): Promise<void> {
  const backrest = await leaderBackrest(wanted);
  if ((await stanzaInfoOf(backrest)) === undefined) {
    report("making the stanza in the repository");
    await pgbackrest(backrest, ["stanza-create"], { timeoutMs: 120_000 });
  }
  report("switching a WAL segment and waiting for it in the repository");
  await pgbackrest(backrest, ["check"], { timeoutMs: 180_000 });
  await waitFor("a WAL segment in the repository", 60_000, async () => {
    const info = await stanzaInfoOf(backrest);
    return info?.archive.some(({ max }) => max !== null) === true ? true : undefined;
  });
  if (!wanted.fullBackup || (await hasFullBackup(backrest))) return;
  report("making the first full backup");
  await pgbackrest(backrest, ["--type=full", "backup"], { timeoutMs: backupTimeoutMs });
  if (!(await hasFullBackup(backrest))) {
    throw new CtmError(
      "backup-missing",
      "pgBackRest ended well, yet its repository holds no full backup",
      {
        next: "ctm backup full",
      },
    );
  }
}

async function hasFullBackup(backrest: Backrest): Promise<boolean> {
  const info = await stanzaInfoOf(backrest);
  return info?.backup.some(({ type, error }) => type === "full" && error !== true) === true;
}

async function leaderBackrest(target: StanzaInputs): Promise<Backrest> {
  const { members } = await clusterOf(Object.values(target.endpoints));
  const leader = members.find(({ role }) => role === "leader")?.name;
  const configuration = leader === undefined ? undefined : target.configurations[leader];
  if (configuration === undefined) {
    throw new CtmError("no-leader", "the cluster has no leader to back up", { next: "ctm status" });
  }
  return { configuration, stanza: target.stanza, user: target.user };
}
