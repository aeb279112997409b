/**
 * Drops each policy, constraint, trigger and grant of the schema in a copy of the database, runs the
 * pgTAP files there, and names what nobody noticed: a rule that no test holds.
 *
 *   node database/tests/survivors.ts [--without catalog.sql --without grants.sql] [--only PATTERN]
 *
 * Without the two files that list the catalog it asks which rules are held by what they do.
 */
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Client } from "pg";
import { runTests } from "../pgtap-runner/src/index.ts";
import { connect, disconnect } from "../runner/connect.ts";
import { makeFreshDatabase } from "../runner/fresh-database.ts";
import { startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";

/** A rule of the schema, and the statement that drops it. */
export interface Rule {
  name: string;
  drop: string;
}

const folder = fileURLToPath(new URL(".", import.meta.url));

/**
 * Rules of the schema public that are not an extension's. What a partition has it inherits, and what
 * a primary key supports stays, for dropping it takes other rules along.
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
  ORDER BY 1`;

/**
 * Which rules can go without a test going red.
 *
 * @param options.files pgTAP files; those that notice most should come first
 * @param options.only what the name of a rule must match
 * @param options.onRule told of each rule: the file that noticed, or undefined
 */
export async function findSurvivors(
  server: ScratchServer,
  options: {
    files: readonly string[];
    only?: RegExp;
    onRule?: (rule: Rule, redFile: string | undefined) => void;
  },
): Promise<Rule[]> {
  const template = "survivors_template";
  const roles = await readFile(new URL("../roles.sql", import.meta.url), "utf8");
  await makeFreshDatabase(server, template);
  const rules = await withClient(server, template, async (client) => {
    await client.query("CREATE EXTENSION pgtap");
    return (await client.query<Rule>(rulesQuery)).rows;
  });
  const survivors: Rule[] = [];
  for (const rule of rules.filter(({ name }) => options.only?.test(name) ?? true)) {
    await withClient(server, "postgres", async (client) => {
      await client.query("DROP DATABASE IF EXISTS survivors_copy");
      await client.query(`CREATE DATABASE survivors_copy TEMPLATE ${template}`);
    });
    await withClient(server, "survivors_copy", async (client) => {
      // A copy has no privileges on the database itself: those come with the roles.
      await client.query(roles);
      await client.query(rule.drop);
    });
    const { host, port, user, password } = server.connection;
    const { files } = await runTests({
      files: [...options.files],
      connection: {
        host: String(host),
        port: Number(port),
        user: String(user),
        password: String(password),
        database: "survivors_copy",
      },
      isolation: "in-place",
      workers: 1,
      bail: 1,
    });
    const red = files.find(({ status }) => status === "failed");
    if (red === undefined) survivors.push(rule);
    options.onRule?.(rule, red?.path);
  }
  return survivors;
}

/** The pgTAP files, those first that notice most, soonest. */
async function testFiles(without: readonly string[]): Promise<string[]> {
  const first = ["catalog.sql", "grants.sql", "constraints.sql", "keys_and_references.sql"];
  const rank = (name: string): number => (first.includes(name) ? first.indexOf(name) : 99);
  return (await readdir(folder))
    .filter((name) => name.endsWith(".sql") && !without.includes(name))
    .toSorted((left, right) => rank(left) - rank(right) || (left < right ? -1 : 1))
    .map((name) => folder + name);
}

async function withClient<T>(
  server: ScratchServer,
  database: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await connect(server.database(database), "survivors");
  try {
    return await work(client);
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
  const server = await startScratchServer();
  try {
    const found = new Map<string, number>();
    const survivors = await findSurvivors(server, {
      files: await testFiles(values.without),
      ...(values.only === undefined ? {} : { only: new RegExp(values.only) }),
      onRule: (rule, redFile) => {
        const file = redFile?.slice(folder.length) ?? "nobody";
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
