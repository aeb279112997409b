import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { credentialPath, dataMark, stackPaths, type Descriptor, type StackPaths } from "#stack";
import { exists, makeDirectory } from "#system";
import { parseConfiguration } from "../config.ts";
import { describeStack } from "../describe.ts";
import { startTlsServer, type TlsServer } from "../postgres/testing/tls-server.ts";
import type { Properties } from "../provider/resource-type.ts";
import { ProviderClient } from "../provider/testing/provider-client.ts";
import { ownUser, temporaryFolder } from "../provider/testing/temporary.ts";
import { secret } from "../provider/types/secret.ts";
import { portRequests, topologyOf } from "../topology.ts";
import { locksOf, lossesOf, lossOf } from "./lock.ts";

let server: TlsServer;
let folder: string;
let paths: StackPaths;
let key: string;

beforeAll(async () => {
  server = await startTlsServer();
});

afterAll(async () => {
  await server.stop();
});

beforeEach(async () => {
  folder = await temporaryFolder("settings-key");
  paths = stackPaths("lost", { CTM_HOME: folder });
  key = credentialPath(paths, "settings-key");
  await makeDirectory(paths.credentials, { mode: 0o700 });
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
  await server.query("DROP DATABASE IF EXISTS settings");
});

async function initialise(): Promise<void> {
  const data = join(paths.state, "members/m1/data");
  await mkdir(data, { recursive: true });
  await writeFile(join(data, "PG_VERSION"), "15\n");
  await writeFile(dataMark(data), "lost\n");
}

async function describeAt(changes: Partial<Descriptor["postgres"]["rw"]> = {}): Promise<void> {
  const users = { postgres: ownUser, service: ownUser };
  const configuration = parseConfiguration({});
  const { host, port, authority, ...provisioning } = server.provisioning;
  const none = { certificate: "/none", key: "/none", fingerprint: pulumi.output("") };
  const described = describeStack({
    paths,
    configuration,
    topology: topologyOf(configuration, paths, users),
    users,
    security: { authorityPath: authority, provisioning, etcd: none },
    serverVersion: 15,
    binaries: "/none",
    ports: Object.fromEntries(
      Object.entries(portRequests(configuration)).map(([name, { preferred }]) => [name, preferred]),
    ),
    edge: null,
  });
  const postgres = { ...described.postgres, database: "settings", rw: { host, port, ...changes } };
  await writeFile(paths.descriptor, JSON.stringify({ ...described, postgres }));
}

async function fill(...names: string[]): Promise<void> {
  await server.query("CREATE DATABASE settings");
  await server.query(
    "CREATE TABLE configuration_settings (setting_key text, is_encrypted boolean)",
    "settings",
  );
  for (const name of ["in.clear", ...names]) {
    const row = `('${name}', ${name !== "in.clear"})`;
    await server.query(`INSERT INTO configuration_settings VALUES ${row}`, "settings");
  }
}

async function codes(): Promise<string[]> {
  return (await lossesOf(paths)).map(({ error }) => error.code);
}

const outcome = (which: string, reason: string): string =>
  `${which}, and their key is neither in ${key} nor in Pulumi's state; another one does not open them, so none was made\nnext: ${reason}`;

describe("the key of encrypted settings is lost", () => {
  it.each([
    [["smtp.password"], "smtp.password"],
    [["a", "b", "c", "d", "e"], "a, b, c, 2 more"],
  ])("where the database holds %j", async (names, shown) => {
    await initialise();
    await describeAt();
    await fill(...names);
    const [loss, ...more] = await lossesOf(paths);
    expect(more).toEqual([]);
    expect(loss?.name).toBe("settings-key");
    expect(loss?.error.text).toBe(
      outcome(
        `settings-key-lost: the database holds encrypted settings (${shown})`,
        "docs/runbooks/lost-settings-key.md: it is in the escrow",
      ),
    );
    expect(loss?.error.exitCode).toBe(2);
  });

  it("where the database does not answer", async () => {
    await initialise();
    await describeAt({ port: 1 });
    const [loss] = await lossesOf(paths);
    const may = `settings-key-lost: the database in ${paths.state}/members may hold encrypted settings (it cannot be asked: connect ECONNREFUSED ${server.provisioning.host}:1)`;
    expect(loss?.error.text).toBe(
      outcome(
        may,
        "npx ctm start, then again; where that does not help, docs/runbooks/lost-settings-key.md",
      ),
    );
  });

  it("where nothing says how to reach the database", async () => {
    await initialise();
    const [loss] = await lossesOf(paths);
    expect(loss?.error.message).toContain(`cannot be asked: ${paths.descriptor} does not exist`);
  });

  it.each([
    ["is empty", ""],
    ["was cut off", "k".repeat(20)],
  ])("where its file %s", async (_, content) => {
    await initialise();
    await describeAt();
    await fill("smtp.password");
    await writeFile(key, content);
    expect(await codes()).toEqual(["settings-key-lost"]);
  });
});

describe("it is not", () => {
  it("where there is no database", async () => {
    await describeAt();
    expect(await codes()).toEqual([]);
  });

  it("where the data is somebody else's, which is refused elsewhere", async () => {
    await initialise();
    await rm(dataMark(join(paths.state, "members/m1/data")));
    expect(await codes()).toEqual([]);
  });

  it("where the database is not made yet, or its tables are not", async () => {
    await initialise();
    await describeAt();
    expect(await codes()).toEqual([]);
    await server.query("CREATE DATABASE settings");
    expect(await codes()).toEqual([]);
  });

  it("where no setting is encrypted", async () => {
    await initialise();
    await describeAt();
    await fill();
    expect(await codes()).toEqual([]);
  });

  it("where its file is", async () => {
    await initialise();
    await describeAt();
    await fill("smtp.password");
    await writeFile(key, `${"k".repeat(43)}\n`);
    expect(await codes()).toEqual([]);
  });
});

it("the resource is refused when it is planned, and when it is made, and nothing is written", async () => {
  await initialise();
  await describeAt();
  await fill("smtp.password");
  const opens = locksOf(paths).get("settings-key") ?? null;
  const inputs: Properties = {
    path: key,
    owner: ownUser,
    prefix: "",
    generation: 1,
    keep: null,
    opens,
    file: "intact",
  };
  const client = await ProviderClient.serving([secret]);
  try {
    const reason = opens === null ? undefined : (await lossOf(opens, key))?.text;
    expect(await client.check(secret.token, inputs)).toEqual([{ property: "path", reason }]);
    await expect(client.create(secret.token, inputs)).rejects.toThrow("settings-key-lost");
    expect(await exists(key)).toBe(false);
  } finally {
    client.close();
  }
});
