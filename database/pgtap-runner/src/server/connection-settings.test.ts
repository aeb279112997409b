import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { resolveConnection } from "./connection-settings.ts";

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "pgtap-settings-"));
  await writeFile(
    join(directory, "pgpass"),
    "# comment\nother:*:*:*:wrong\n*:5433:app:anna:se\\:cret\n",
  );
  await chmod(join(directory, "pgpass"), 0o600);
  await writeFile(join(directory, "open"), "*:*:*:*:seen\n");
  await chmod(join(directory, "open"), 0o644);
  await writeFile(
    join(directory, "services"),
    "[one]\nhost=h1\n[two]\nhost=h2\nport=7000\nuser=u2\n",
  );
});

afterAll(() => rm(directory, { recursive: true, force: true }));

describe("where to connect", () => {
  test("a URL says everything, and may escape it", () => {
    const url = "postgresql://an%40na:se%2Fcret@db.example:5433/my%20app?sslmode=verify-full";
    expect(resolveConnection({ url }, {})).toMatchObject({
      host: "db.example",
      port: 5433,
      user: "an@na",
      password: "se/cret",
      database: "my app",
      sslMode: "verify-full",
    });
  });

  test.each([
    ["postgresql:///app?host=/run/pg&port=7", { host: "/run/pg", port: 7, database: "app" }],
    ["postgresql://%2Frun%2Fpg/app", { host: "/run/pg", database: "app" }],
    ["postgres://[::1]:7/app", { host: "::1", port: 7 }],
    [
      "host=/run/pg dbname='my app' user=anna",
      { host: "/run/pg", database: "my app", user: "anna" },
    ],
  ])("%s", (url, expected) => {
    expect(resolveConnection({ url }, {})).toMatchObject(expected);
  });

  test("what is passed goes before the URL, the URL before the environment", () => {
    const environment = { PGHOST: "env", PGPORT: "1", PGUSER: "env", PGDATABASE: "env" };
    const settings = resolveConnection(
      { url: "postgresql://url:2/url", database: "passed" },
      environment,
    );
    expect(settings).toMatchObject({ host: "url", port: 2, user: "env", database: "passed" });
  });

  test("without anything, libpq's defaults", () => {
    const { port, user, database, sslMode, connectTimeoutMs } = resolveConnection(
      { host: "h" },
      {},
    );
    const name = userInfo().username;
    expect({ port, user, database, sslMode, connectTimeoutMs }).toEqual({
      port: 5432,
      user: name,
      database: name,
      sslMode: "prefer",
      connectTimeoutMs: 10_000,
    });
  });

  test("a password file, unless others can read it", () => {
    const at = { host: "h", port: 5433, user: "anna", database: "app" };
    const from = (name: string): string | undefined =>
      resolveConnection(at, { PGPASSFILE: join(directory, name) }).password;
    expect(from("pgpass")).toBe("se:cret");
    expect(from("open")).toBeUndefined();
    expect(from("missing")).toBeUndefined();
  });

  test("a service file", () => {
    const environment = {
      PGSERVICEFILE: join(directory, "services"),
      PGSERVICE: "two",
      PGUSER: "me",
    };
    expect(resolveConnection({}, environment)).toMatchObject({
      host: "h2",
      port: 7000,
      user: "me",
    });
  });

  test("session settings of the environment reach the server", () => {
    const environment = { PGOPTIONS: "-c geqo=off", PGTZ: "Asia/Kolkata", PGDATESTYLE: "ISO, DMY" };
    expect(resolveConnection({ host: "h" }, environment).serverOptions).toBe(
      "-c geqo=off -c TimeZone=Asia/Kolkata -c DateStyle=ISO,\\ DMY",
    );
  });

  test.each([
    [{ url: "mysql://host/db" }, {}, "the URL starts with neither postgresql:// nor key="],
    [{ url: "postgresql://user:hunter2@host:port/db" }, {}, "the URL cannot be read"],
    [{}, { PGPORT: "five" }, 'port "five" is not a number'],
    [
      { host: "h" },
      { PGSSLMODE: "maybe" },
      'sslmode "maybe" is none of disable, allow, prefer, require, verify-ca, verify-full',
    ],
    [
      {},
      { PGSERVICE: "none", PGSERVICEFILE: "/no/such", PGSYSCONFDIR: "/no" },
      'service "none" is in none of /no/such, /no/pg_service.conf',
    ],
  ])("%j with %j is refused", (options, environment, message) => {
    expect(() => resolveConnection(options, environment)).toThrow(
      expect.objectContaining({ code: "bad-connection", exitCode: 2, message }),
    );
  });
});
