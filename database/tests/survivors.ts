/**
 * Drops each policy, constraint, trigger and grant of the schema, runs the pgTAP files without it, and
 * names what nobody noticed: a rule that no test holds.
 *
 *   node database/tests/survivors.ts [--without catalog.sql --without grants.sql] [--only PATTERN]
 *
 * Without the two files that list the catalog it asks which rules are held by what they do.
 */
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Client } from "pg";
import { connect, disconnect, type DatabaseConnection } from "../runner/connect.ts";
import { makeFreshDatabase } from "../runner/fresh-database.ts";
import { startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";

/** A rule of the schema, and the statement that drops it. */
export interface Rule {
  name: string;
  drop: string;
}

/** A rule, and the file that went red without it; null when none did. */
export interface Verdict {
  rule: Rule;
  noticedBy: string | null;
}

/** A pgTAP file without the transaction around it. */
interface TestFile {
  name: string;
  body: string;
}

const folder = fileURLToPath(new URL(".", import.meta.url));
/** As many as the cores that a small machine has. */
const workerCount = 2;

/**
 * Rules of the schema public that are not an extension's, and who may enter it. What a partition has
 * it inherits.
 */
const rulesQuery = `
  SELECT format('policy %s on %s', polname, polrelid::regclass) AS name,
         format('DROP POLICY %I ON %s', polname, polrelid::regclass) AS drop
  FROM pg_policy JOIN pg_class ON pg_class.oid = polrelid WHERE NOT relispartition
  UNION ALL
  SELECT format('%s %s on %s', CASE contype WHEN 'c' THEN 'check' WHEN 'u' THEN 'unique'
                                 WHEN 'p' THEN 'primary key' ELSE 'foreign key' END, conname, conrelid::regclass),
         format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', conrelid::regclass, conname)
  FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
  WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'u', 'f', 'p') AND NOT relispartition
    AND relname NOT LIKE 'schema\\_%'
  UNION ALL
  SELECT format('trigger %s on %s', tgname, tgrelid::regclass),
         format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass)
  FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
  WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal AND NOT relispartition
  UNION ALL
  SELECT format('grant of %s on %s to %s', privilege_type, class.oid::regclass, grantee::regrole),
         format('REVOKE %s ON %s FROM %s', privilege_type, class.oid::regclass, grantee::regrole)
  FROM pg_class class, aclexplode(relacl)
  WHERE relnamespace = 'public'::regnamespace AND relowner = 'ctm_owner'::regrole AND grantee <> relowner
  UNION ALL
  SELECT format('grant of %s (%s) on %s to %s', privilege_type, attname, attrelid::regclass, grantee::regrole),
         format('REVOKE %s (%I) ON %s FROM %s', privilege_type, attname, attrelid::regclass, grantee::regrole)
  FROM pg_attribute JOIN pg_class class ON class.oid = attrelid, aclexplode(attacl)
  WHERE relnamespace = 'public'::regnamespace AND relowner = 'ctm_owner'::regrole
  UNION ALL
  SELECT format('grant of %s to %s', routine.oid::regprocedure, grantee::regrole),
         format('REVOKE EXECUTE ON FUNCTION %s FROM %s', routine.oid::regprocedure, grantee::regrole)
  FROM pg_proc routine, aclexplode(proacl)
  WHERE pronamespace = 'public'::regnamespace AND grantee <> proowner AND grantee <> 0
    AND proowner IN ('ctm_owner'::regrole, 'ctm_key_lookup'::regrole)
  UNION ALL
  SELECT format('row security of %s', oid::regclass), format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', oid::regclass)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity AND NOT relispartition
  UNION ALL
  SELECT format('row security of %s for its owner', oid::regclass),
         format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', oid::regclass)
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relforcerowsecurity AND NOT relispartition
  UNION ALL
  SELECT format('grant of %s on the schema to %s', privilege_type, grantee::regrole),
         format('REVOKE %s ON SCHEMA public FROM %s', privilege_type, grantee::regrole)
  FROM pg_namespace, aclexplode(nspacl)
  WHERE nspname = 'public' AND grantee <> nspowner
  ORDER BY 1`;

/** Makes the databases that `findSurvivors` works in, one for each that works at once. */
export async function makeDatabases(server: ScratchServer): Promise<DatabaseConnection[]> {
  const names = Array.from({ length: workerCount }, (_, index) => `survivors_${index}`);
  for (const name of names) {
    await makeFreshDatabase(server, name);
    await withClient(server.database(name), (client) => client.query("CREATE EXTENSION pgtap"));
  }
  return names.map((name) => server.database(name));
}

/**
 * Which rules can go without a test going red.
 *
 * Each rule is dropped in a transaction that is rolled back, and each file runs in it up to a savepoint:
 * a copy of the database for each would take ten times as long.
 *
 * @param databases of `makeDatabases`
 * @param options.without names of pgTAP files that are not asked
 * @param options.select which of the rules are tried; all by default
 * @param options.onVerdict told of each rule
 */
export async function findSurvivors(
  databases: readonly DatabaseConnection[],
  options: {
    without?: readonly string[];
    select?: (rule: Rule) => boolean;
    onVerdict?: (verdict: Verdict) => void;
  } = {},
): Promise<{ tried: number; survivors: Rule[] }> {
  const { without = [], select = () => true, onVerdict } = options;
  const files = await testFiles(without);
  const [first] = databases;
  if (first === undefined) throw new Error("there is no database to drop rules in");
  const { rows } = await withClient(first, (client) => client.query<Rule>(rulesQuery));
  const rules = rows.filter(select);
  const waiting = [...rules];
  const survivors: Rule[] = [];
  const work = async (database: DatabaseConnection): Promise<void> =>
    withClient(database, async (client) => {
      await expectGreen(client, files);
      for (let rule = waiting.shift(); rule !== undefined; rule = waiting.shift()) {
        const noticedBy = await whoNotices(client, rule, files);
        if (noticedBy === null) survivors.push(rule);
        onVerdict?.({ rule, noticedBy });
      }
    });
  await Promise.all(databases.map(work));
  return { tried: rules.length, survivors };
}

/** Red files would notice everything. */
async function expectGreen(client: Client, files: readonly TestFile[]): Promise<void> {
  const red = await whoNotices(client, { name: "nothing", drop: "SELECT" }, files);
  if (red !== null) throw new Error(`${red} is red though no rule was dropped`);
}

async function whoNotices(
  client: Client,
  rule: Rule,
  files: readonly TestFile[],
): Promise<string | null> {
  await client.query(`BEGIN; ${rule.drop}`);
  try {
    // Rules come sorted, and what noticed one mostly notices the next.
    const last = lastNoticed.get(kindOf(rule));
    const first = files.filter(({ name }) => name === last);
    for (const file of [...first, ...files.filter((other) => other.name !== last)]) {
      if (!(await isRed(client, file))) continue;
      lastNoticed.set(kindOf(rule), file.name);
      return file.name;
    }
    return null;
  } finally {
    await client.query("ROLLBACK");
  }
}

const lastNoticed = new Map<string, string>();
const kindOf = (rule: Rule): string => rule.name.split(" ")[0] ?? "";

async function isRed(client: Client, file: TestFile): Promise<boolean> {
  await client.query("SAVEPOINT test_file");
  try {
    const results = await client.query<unknown[]>({ text: file.body, rowMode: "array" });
    // One for each statement, which the types do not say.
    const rows = [results].flat().flatMap((result) => result.rows.flat());
    return rows.some((value) => typeof value === "string" && /^not ok|^# Looks like/m.test(value));
  } catch {
    return true;
  } finally {
    await client.query("ROLLBACK TO test_file");
  }
}

async function testFiles(without: readonly string[]): Promise<TestFile[]> {
  const first = ["catalog.sql", "grants.sql", "constraints.sql", "keys_and_references.sql"];
  const rank = (name: string): number => (first.includes(name) ? first.indexOf(name) : 99);
  const names = (await readdir(folder))
    .filter((name) => name.endsWith(".sql") && !without.includes(name))
    .toSorted((left, right) => rank(left) - rank(right) || (left < right ? -1 : 1));
  return await Promise.all(
    names.map(async (name) => {
      const [, body] =
        /^BEGIN;$([^]*)^ROLLBACK;$/m.exec(await readFile(folder + name, "utf8")) ?? [];
      if (body === undefined) throw new Error(`${name} is not one transaction that is rolled back`);
      return { name, body };
    }),
  );
}

async function withClient<T>(
  database: DatabaseConnection,
  action: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await connect(database, "survivors");
  try {
    return await action(client);
  } finally {
    await disconnect(client);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      without: { type: "string", multiple: true, default: [] },
      only: { type: "string" },
    },
  });
  const only = new RegExp(values.only ?? "");
  const server = await startScratchServer();
  try {
    const found = new Map<string, number>();
    const { survivors } = await findSurvivors(await makeDatabases(server), {
      without: values.without,
      select: ({ name }) => only.test(name),
      onVerdict: ({ rule, noticedBy }) => {
        const file = noticedBy ?? "nobody";
        found.set(file, (found.get(file) ?? 0) + 1);
        process.stderr.write(`${rule.name}: noticed by ${file}\n`);
      },
    });
    for (const [file, count] of found) process.stdout.write(`${count} noticed by ${file}\n`);
    for (const { name } of survivors) process.stdout.write(`survivor: ${name}\n`);
    process.exitCode = survivors.length === 0 ? 0 : 3;
  } finally {
    await server.stop();
  }
}

if (import.meta.main) await main();
