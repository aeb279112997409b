import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unwrap } from "./secrets.ts";
import { ProviderClient } from "./testing/provider-client.ts";
import {
  migratableDatabase,
  migrationsInputs,
  sharedServer,
  sqlCases,
  stopSharedServer,
  type MigratedServer,
} from "./testing/sql-cases.ts";
import type { Properties } from "./resource-type.ts";
import { closedFunctions } from "./types/closed-functions.ts";
import { dropMarkers } from "./types/drop-markers.ts";
import { functionGrants } from "./types/function-grants.ts";
import { login } from "./types/login.ts";
import { migrations } from "./types/migrations.ts";
import { roleSettings } from "./types/role-settings.ts";
import { scramVerifier } from "./types/secret.ts";

afterAll(stopSharedServer);

for (const one of sqlCases) one.describe();

/* A refresh that fails can repair nothing: whatever is gone must be read as gone. */

describe("a role that was dropped", () => {
  let client: ProviderClient;

  beforeAll(async () => {
    client = await ProviderClient.serving([functionGrants, login, roleSettings]);
  });

  afterAll(() => {
    client.close();
  });

  it("holds no grant and no setting, and cannot log in", async () => {
    const { provisioning } = await sharedServer();
    const read = async (token: string, inputs: Properties): Promise<unknown> => {
      const state = { role: "dropped", provisioning, ...inputs };
      return unwrap((await client.read(token, "dropped", state, state))?.state);
    };
    const grants = { functions: ["pg_switch_wal()"], databases: ["postgres"] };
    expect(await read(functionGrants.token, grants)).toMatchObject({ functions: [] });
    const settings = { settings: { lock_timeout: "5s" } };
    expect(await read(roleSettings.token, settings)).toMatchObject({ settings: {} });
    const proof = {
      database: "postgres",
      password: "x",
      verifier: scramVerifier("x"),
      replication: true,
      login: "works",
    };
    expect(await read(login.token, proof)).toMatchObject({
      login: 'refused: password authentication failed for user "dropped"',
      replication: false,
    });
  });
});

describe("a database that was dropped", () => {
  let client: ProviderClient;

  beforeAll(async () => {
    client = await ProviderClient.serving([closedFunctions, dropMarkers, functionGrants]);
  });

  afterAll(() => {
    client.close();
  });

  it.each([
    [dropMarkers.token, { marks: "every drop" }],
    [closedFunctions.token, { functions: ["pg_advisory_lock"], role: "postgres" }],
  ])("took %s along", async (token, inputs: Properties) => {
    const { provisioning } = await sharedServer();
    const state = { database: "dropped", provisioning, ...inputs };
    expect(await client.read(token, "dropped", state, state)).toBeUndefined();
  });

  it("holds no grant", async () => {
    const { provisioning } = await sharedServer();
    const inputs = { role: "postgres", functions: ["pg_switch_wal()"], databases: ["dropped"] };
    const state = { provisioning, ...inputs };
    const found = await client.read(functionGrants.token, "postgres", state, state);
    expect(unwrap(found?.state)).toMatchObject({ functions: [] });
  });
});

describe("migrations", () => {
  let client: ProviderClient;
  let server: MigratedServer;
  let state: Properties;
  const inputs = (): Properties => migrationsInputs(server);

  beforeAll(async () => {
    client = await ProviderClient.serving([migrations]);
    server = await migratableDatabase("migrated");
    ({ state } = await client.create(migrations.token, inputs()));
  });

  afterAll(() => {
    client.close();
  });

  const changedPaths = async (): Promise<string[]> => {
    const found = await client.read(migrations.token, "migrated", state, inputs());
    const diff = await client.diff(migrations.token, "migrated", found?.state ?? {}, inputs());
    return Object.keys(diff.paths);
  };

  it("are read although the migrator cannot log in", async () => {
    await server.query("ALTER ROLE ctm_migrator NOLOGIN PASSWORD 'changed by hand'");
    expect(await changedPaths()).toEqual([]);
    await expect(client.update(migrations.token, "migrated", state, inputs())).rejects.toThrow(
      "login-refused",
    );
    await server.query(`ALTER ROLE ctm_migrator LOGIN PASSWORD '${server.verifier}'`);
  });

  it("show a file that was edited after it was applied, and refuse to go on", async () => {
    const [file = ""] = Object.keys(server.files);
    await server.query(
      "UPDATE schema_migrations SET checksum = 'edited' WHERE version = '001'",
      "migrated",
    );
    expect(await changedPaths()).toEqual([`files["${file}"]`]);
    await expect(client.update(migrations.token, "migrated", state, inputs())).rejects.toThrow(
      "migration-edited",
    );
    await server.query(
      `UPDATE schema_migrations SET checksum = '${server.files[file]}' WHERE version = '001'`,
      "migrated",
    );
  });

  it("show a version that no file has, and refuse to go on", async () => {
    await server.query(
      "INSERT INTO schema_migrations (version, checksum, duration_ms) VALUES ('999', 'x', 1)",
      "migrated",
    );
    expect(await changedPaths()).toEqual(['files["999 (applied, but there is no such file)"]']);
    await expect(client.update(migrations.token, "migrated", state, inputs())).rejects.toThrow(
      "migration-missing",
    );
    await server.query("DELETE FROM schema_migrations WHERE version = '999'", "migrated");
  });

  it("are gone with their database", async () => {
    await server.query("DROP DATABASE migrated");
    expect(await client.read(migrations.token, "migrated", state, inputs())).toBeUndefined();
  });
});
