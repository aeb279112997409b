// oxlint-disable vitest/no-standalone-expect -- the rows of this table run inside tests
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { startFakePatroni, type FakePatroni } from "../../postgres/testing/fake-patroni.ts";
import { clusterSettings } from "../types/cluster-settings.ts";
import { cluster } from "../types/cluster.ts";
import { stanza } from "../types/stanza.ts";
import { defineCase, type RegisteredCase } from "./resource-case.ts";
import { ownUser } from "./temporary.ts";

/* The real cluster is in test/e2e; here Patroni and pgBackRest say what each row needs. */

const healthy = async (): Promise<FakePatroni> =>
  await startFakePatroni({
    m1: { role: "leader", state: "running" },
    m2: { role: "sync_standby", state: "streaming" },
  });

const elsewhere = { m1: { host: "10.0.0.1", port: 8008, authority: "/elsewhere/ca.crt" } };

/** A member recovers while somebody waits for it: after the looks of a preview and of a refresh. */
function recoverLater(fake: FakePatroni, name: string, state: string): void {
  const happens = (): void => {
    fake.members[name] = { role: "replica", state };
  };
  fake.later = { looks: 3, happens };
}

const clusterCase = defineCase<FakePatroni>({
  type: cluster,
  setUp: healthy,
  tearDown: (fake) => fake.stop(),
  inputs: ({ endpoints }) => ({
    name: "main",
    endpoints,
    members: { m1: "running", m2: "running" },
  }),
  drift: [
    {
      how: "a member is starting",
      change: async (fake) => {
        fake.members["m2"] = { role: "replica", state: "starting" };
        recoverLater(fake, "m2", "streaming");
      },
      shows: ["members.m2"],
    },
    {
      how: "a member has left",
      change: async (fake) => {
        delete fake.members["m2"];
        recoverLater(fake, "m2", "running");
      },
      shows: ["members.m2"],
    },
  ],
  identity: { name: "another" },
  instructions: {},
  silent: { endpoints: elsewhere },
  halfDone: [
    {
      left: "a cluster whose standby is being made",
      arrange: async (fake) => {
        fake.members["m2"] = { role: "replica", state: "creating replica" };
        recoverLater(fake, "m2", "streaming");
      },
    },
  ],
  afterDelete: async ({ writes }) => expect(writes).toEqual([]),
});

const wanted = {
  ttl: 20,
  synchronous_mode: true,
  postgresql: { use_slots: true, parameters: { max_connections: "100", wal_level: "replica" } },
};

const clusterSettingsCase = defineCase<FakePatroni>({
  type: clusterSettings,
  setUp: healthy,
  tearDown: (fake) => fake.stop(),
  inputs: ({ endpoints, credentialsPath }) => ({
    endpoints,
    credentialsPath,
    configuration: wanted,
    awaitingRestart: [],
  }),
  drift: [
    {
      how: "a member awaits the restart that a setting asked for",
      change: async (fake) => {
        fake.members["m2"] = { role: "replica", state: "streaming", pending_restart: true };
      },
      shows: ["awaitingRestart[0]"],
    },
    {
      how: "a setting was changed",
      change: async (fake) => {
        fake.configuration = { ...wanted, ttl: 37 };
      },
      shows: ["configuration.ttl"],
    },
    {
      how: "a setting was removed",
      change: async (fake) => {
        const { synchronous_mode: _removed, ...rest } = wanted;
        fake.configuration = rest;
      },
      shows: ["configuration.synchronous_mode"],
    },
    {
      how: "a setting was added",
      change: async (fake) => {
        fake.configuration = { ...wanted, failsafe_mode: true };
      },
      shows: ["configuration.failsafe_mode"],
    },
    {
      how: "a PostgreSQL setting was changed, while people have paused the cluster",
      change: async (fake) => {
        const { postgresql } = wanted;
        const parameters = { ...postgresql.parameters, max_connections: "500" };
        fake.configuration = {
          ...wanted,
          postgresql: { ...postgresql, parameters },
          pause: true,
        };
        fake.members = {
          m1: { role: "leader", state: "running", pending_restart: true },
          m2: { role: "sync_standby", state: "streaming", pending_restart: true },
        };
        fake.writes.length = 0;
      },
      shows: [
        "configuration.postgresql.parameters.max_connections",
        "awaitingRestart[0]",
        "awaitingRestart[1]",
      ],
      repaired: async (fake) => {
        // People's pause stays; standbys restart before the leader.
        expect(fake.configuration).toEqual({ ...wanted, pause: true });
        expect(fake.writes).toEqual(["PUT /config", "POST /restart m2", "POST /restart m1"]);
      },
    },
  ],
  identity: {},
  instructions: {},
  silent: { endpoints: elsewhere, credentialsPath: "/elsewhere/patroni-rest" },
  halfDone: [
    {
      left: "settings without the restarts that they ask for",
      arrange: async (fake) => {
        fake.members["m2"] = { role: "replica", state: "streaming", pending_restart: true };
        fake.writes.length = 0;
      },
      taken: async ({ writes }) => expect(writes).toEqual(["POST /restart m2"]),
    },
  ],
  afterDelete: async ({ configuration }) => expect(configuration).toMatchObject(wanted),
});

interface StanzaScene {
  patroni: FakePatroni;
  path: string | undefined;
}

/** Keeps its repository as `info.json`, and notes what it is asked to do. */
const fakePgbackrest = `
const { appendFileSync, existsSync, readFileSync, writeFileSync } = require("node:fs");
const folder = "FOLDER";
const repository = folder + "/info.json";
const command = process.argv.at(-1);
const known = existsSync(repository)
  ? JSON.parse(readFileSync(repository, "utf8"))
  : { name: "main", status: { code: 1, message: "missing stanza path" }, backup: [], archive: [] };
if (command === "info") {
  console.log(JSON.stringify([known]));
} else {
  appendFileSync(folder + "/commands", command + "\\n");
  known.status = { code: 0, message: "ok" };
  if (command === "check") known.archive = [{ id: "15-1", min: "A", max: "B" }];
  if (command === "backup") {
    known.backup.push({
      label: "20260101-000000F", type: "full", error: false, archive: { start: "A", stop: "B" },
      timestamp: { start: 1, stop: 2 }, info: { size: 1, repository: {} },
    });
  }
  writeFileSync(repository, JSON.stringify(known));
}
`;

const repositoryOf = ({ patroni }: StanzaScene): string => join(patroni.folder, "info.json");

/** Changes the repository as `edit` says. */
const inRepository =
  (edit: (info: { backup: { type: string; error: boolean }[]; archive: unknown[] }) => void) =>
  async (scene: StanzaScene): Promise<void> => {
    const info = JSON.parse(await readFile(repositoryOf(scene), "utf8")) as Parameters<
      typeof edit
    >[0];
    edit(info);
    await writeFile(repositoryOf(scene), JSON.stringify(info));
  };

const commands = async ({ patroni }: StanzaScene): Promise<string[]> =>
  (await readFile(join(patroni.folder, "commands"), "utf8")).trim().split("\n");

const stanzaCase = defineCase<StanzaScene>({
  type: stanza,
  setUp: async () => {
    const patroni = await healthy();
    const bin = join(patroni.folder, "bin");
    await mkdir(bin);
    const script = fakePgbackrest.replace("FOLDER", patroni.folder);
    await writeFile(join(bin, "pgbackrest"), `#!${process.execPath}\n${script}`);
    await chmod(join(bin, "pgbackrest"), 0o755);
    const path = process.env["PATH"];
    process.env["PATH"] = `${bin}:${path}`;
    return { patroni, path };
  },
  tearDown: async ({ patroni, path }) => {
    process.env["PATH"] = path;
    await patroni.stop();
  },
  inputs: ({ patroni }) => ({
    stanza: "main",
    user: ownUser,
    configurations: { m1: "/m1/pgbackrest.conf", m2: "/m2/pgbackrest.conf" },
    endpoints: patroni.endpoints,
    state: "archiving",
    fullBackup: true,
  }),
  drift: [
    {
      how: "nothing is archived",
      change: inRepository((info) => {
        info.archive = [];
      }),
      shows: ["state"],
    },
    {
      how: "there is no full backup",
      change: inRepository((info) => {
        info.backup = [];
      }),
      shows: ["fullBackup"],
      repaired: async (scene) => expect((await commands(scene)).at(-1)).toBe("backup"),
    },
    {
      how: "the only full backup is broken",
      change: inRepository((info) => {
        for (const backup of info.backup) backup.error = true;
      }),
      shows: ["fullBackup"],
    },
    {
      how: "the stanza was removed from the repository",
      change: (scene) => writeFile(repositoryOf(scene), missingStanza),
      shows: "gone",
      repaired: async (scene) => {
        expect((await commands(scene)).slice(-3)).toEqual(["stanza-create", "check", "backup"]);
      },
    },
  ],
  identity: { stanza: "another" },
  instructions: {},
  silent: { configurations: {}, endpoints: elsewhere, user: "nobody" },
  halfDone: [
    {
      left: "a stanza that has archived nothing yet",
      arrange: inRepository((info) => {
        info.archive = [];
        info.backup = [];
      }),
      taken: async (scene) => {
        expect((await commands(scene)).slice(-2)).toEqual(["check", "backup"]);
      },
    },
  ],
  afterDelete: async (scene) => {
    // The repository is a folder of its own, kept or removed with that.
    expect(await readFile(repositoryOf(scene), "utf8")).toContain("20260101-000000F");
  },
});

const missingStanza = JSON.stringify({
  name: "main",
  status: { code: 1, message: "missing stanza path" },
  backup: [],
  archive: [],
});

/** What a running cluster answers for. */
export const clusterCases: readonly RegisteredCase[] = [
  clusterCase,
  clusterSettingsCase,
  stanzaCase,
];
