import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, disconnect } from "../runner/connect.ts";
import { startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";
import { compareCatalogs, describeDifference } from "./compare-catalogs.ts";
import { readCatalog, type CatalogObject } from "./read-catalog.ts";

const schema = `
  CREATE EXTENSION pgcrypto;
  CREATE TYPE mood AS ENUM ('sad', 'glad');
  CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
  CREATE TABLE parent (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(20) NOT NULL);
  CREATE TABLE child (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), parent bigint REFERENCES parent (id) ON DELETE CASCADE,
    mood mood DEFAULT 'glad', size positive, twice integer GENERATED ALWAYS AS (size * 2) STORED,
    note text COLLATE "C", CONSTRAINT short CHECK (length(note) < 9));
  COMMENT ON COLUMN child.note IS 'a note';
  CREATE INDEX child_parent ON child (parent) WHERE mood = 'sad';
  CREATE VIEW glad WITH (security_barrier) AS SELECT id, note FROM child WHERE mood = 'glad';
  CREATE MATERIALIZED VIEW counts AS SELECT mood, count(*) AS n FROM child GROUP BY mood;
  CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
  CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
  CREATE TRIGGER touched BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION touch();
  ALTER TABLE child ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON child FOR SELECT TO reader USING (note = current_user);
  GRANT SELECT ON child TO reader;
  GRANT UPDATE (note) ON child TO reader;
  CREATE STATISTICS child_moods ON parent, mood FROM child;
  CREATE TABLE logs (at timestamptz NOT NULL, line text) PARTITION BY RANGE (at);
  CREATE TABLE logs_2031_01 PARTITION OF logs FOR VALUES FROM ('2031-01-01') TO ('2031-02-01');
  CREATE TABLE logs_rest PARTITION OF logs DEFAULT;
  ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
`;

/** A change behind the migrations' back, and what is said about it. */
const changes: [change: string, said: string[]][] = [
  [
    "ALTER TABLE child DROP COLUMN note CASCADE",
    [
      "column public.child.note is missing",
      "constraint public.child.short is missing",
      "policy public.child.own is missing",
      "view public.glad is missing",
    ],
  ],
  [
    "ALTER TABLE parent ALTER name TYPE varchar(30)",
    [
      "column public.parent.name is not what the migrations make\n  expected: character varying(20)\n  found:    character varying(30)",
    ],
  ],
  [
    "ALTER TABLE child ALTER mood DROP DEFAULT",
    [
      "column public.child.mood is not what the migrations make\n  expected: default 'glad'::public.mood",
    ],
  ],
  [
    "ALTER TABLE parent ALTER name DROP NOT NULL",
    ["column public.parent.name is not what the migrations make\n  expected: not null"],
  ],
  [
    "ALTER TABLE child ADD extra text",
    ["column public.child.extra is there, and no migration makes it"],
  ],
  ["ALTER TABLE child DROP CONSTRAINT short", ["constraint public.child.short is missing"]],
  [
    "DROP INDEX child_parent; CREATE INDEX child_parent ON child (parent)",
    [
      "index public.child.child_parent is not what the migrations make\n  expected: CREATE INDEX child_parent ON public.child USING btree (parent) WHERE (mood = 'sad'::public.mood)\n  found:    CREATE INDEX child_parent ON public.child USING btree (parent)",
    ],
  ],
  ["DROP MATERIALIZED VIEW counts", ["materialized view public.counts is missing"]],
  [
    "ALTER VIEW glad SET (security_barrier = false)",
    [
      "view public.glad is not what the migrations make\n  expected: with security_barrier=true\n  found:    with security_barrier=false",
    ],
  ],
  [
    "CREATE OR REPLACE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'",
    [
      "function public.shout(text) is not what the migrations make\n  expected: AS $function$SELECT upper($1)$function$\n  found:    AS $function$SELECT lower($1)$function$",
    ],
  ],
  [
    "ALTER FUNCTION shout SECURITY DEFINER",
    [
      "function public.shout(text) is not what the migrations make\n  expected: IMMUTABLE\n  found:    IMMUTABLE SECURITY DEFINER",
    ],
  ],
  [
    "ALTER TABLE child DISABLE TRIGGER touched",
    ["trigger public.child.touched is not what the migrations make\n  found:    disabled"],
  ],
  [
    "ALTER TABLE child DISABLE ROW LEVEL SECURITY",
    ["table public.child is not what the migrations make\n  expected: row security enabled"],
  ],
  [
    "ALTER POLICY own ON child USING (true)",
    [
      "policy public.child.own is not what the migrations make\n  expected: using (note = CURRENT_USER)\n  found:    using true",
    ],
  ],
  [
    "ALTER POLICY own ON child TO public",
    [
      "policy public.child.own is not what the migrations make\n  expected: to reader\n  found:    to public",
    ],
  ],
  [
    "GRANT DELETE ON child TO reader",
    [
      "grant table public.child to reader is not what the migrations make\n  expected: select\n  found:    delete, select",
    ],
  ],
  [
    "GRANT SELECT ON parent TO PUBLIC",
    ["grant table public.parent to public is there, and no migration makes it"],
  ],
  [
    "REVOKE UPDATE (note) ON child FROM reader",
    ["grant column public.child.note to reader is missing"],
  ],
  [
    "REVOKE EXECUTE ON FUNCTION shout FROM PUBLIC",
    ["grant function public.shout(text) to public is missing"],
  ],
  [
    "ALTER TABLE parent OWNER TO reader",
    [
      "grant sequence public.parent_id_seq to postgres is missing",
      "grant table public.parent to postgres is missing",
      "sequence public.parent_id_seq is not what the migrations make\n  expected: owner postgres\n  found:    owner reader",
      "table public.parent is not what the migrations make\n  expected: owner postgres\n  found:    owner reader",
      "grant sequence public.parent_id_seq to reader is there, and no migration makes it",
      "grant table public.parent to reader is there, and no migration makes it",
    ],
  ],
  [
    "COMMENT ON COLUMN child.note IS 'another note'",
    [
      "column public.child.note is not what the migrations make\n  expected: comment 'a note'\n  found:    comment 'another note'",
    ],
  ],
  [
    "ALTER TYPE mood ADD VALUE 'mad'",
    [
      "type public.mood is not what the migrations make\n  expected: enum 'sad', 'glad'\n  found:    enum 'sad', 'glad', 'mad'",
    ],
  ],
  [
    "ALTER DOMAIN positive SET NOT NULL",
    [
      "type public.positive is not what the migrations make\n  expected: domain over integer CHECK ((VALUE > 0))\n  found:    domain over integer not null CHECK ((VALUE > 0))",
    ],
  ],
  ["DROP STATISTICS child_moods", ["statistics public.child_moods is missing"]],
  ["DROP TABLE logs_rest", ["table public.logs_rest is missing"]],
  [
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM reader",
    ["default privileges tables in public of postgres to reader is missing"],
  ],
  [
    "CREATE SCHEMA other AUTHORIZATION reader; CREATE TABLE other.t (id int)",
    ["schema other is there, and no migration makes it"],
  ],
  [
    "CREATE TABLE logs_2031_02 PARTITION OF logs FOR VALUES FROM ('2031-02-01') TO ('2031-03-01')",
    [],
  ],
  ["CREATE SCHEMA provisioned; CREATE TABLE provisioned.t (id int)", []],
  ["VACUUM; REFRESH MATERIALIZED VIEW counts; INSERT INTO parent (name) VALUES ('x')", []],
];

let server: ScratchServer;
let client: Client;
let expected: CatalogObject[];

beforeAll(async () => {
  server = await startScratchServer();
  client = await connect(server.connection, "test");
  await client.query("CREATE ROLE reader");
  await client.query("CREATE DATABASE model");
  const model = await connect(server.database("model"), "test");
  await model.query(schema);
  expected = await readCatalog(model);
  await disconnect(model);
});
afterAll(async () => {
  await disconnect(client);
  await server.stop();
});

describe("readCatalog", () => {
  it.each(changes)("sees %s", async (change, said) => {
    await client.query("CREATE DATABASE changed TEMPLATE model");
    const changed = await connect(server.database("changed"), "test");
    try {
      for (const statement of change.split("; ")) await changed.query(statement);
      const differences = compareCatalogs(expected, await readCatalog(changed));
      expect(differences.map((difference) => describeDifference(difference))).toEqual(said);
    } finally {
      await disconnect(changed);
      await client.query("DROP DATABASE changed");
    }
  });

  it("does not see the order of columns", async () => {
    await client.query("CREATE DATABASE turned");
    const turned = await connect(server.database("turned"), "test");
    await turned.query("CREATE TABLE t (a int, b text)");
    const before = await readCatalog(turned);
    await turned.query("DROP TABLE t; CREATE TABLE t (b text, a int)");
    expect(compareCatalogs(before, await readCatalog(turned))).toEqual([]);
    await disconnect(turned);
  });

  it("leaves extensions to whoever owns them", () => {
    expect(expected.filter((object) => object.name.includes("digest"))).toEqual([]);
  });
});
