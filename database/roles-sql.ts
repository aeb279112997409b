import { fileURLToPath } from "node:url";
import { writeFileAtomic } from "#system";
import {
  backupFunctions,
  closedFunctions,
  databasePrivileges,
  extensions,
  keyLookupRole,
  ownerRole,
  roles,
  schemaName,
  schemaPrivileges,
  type DatabaseRole,
} from "./roles.ts";

/** Where the generated file stands. */
export const rolesSqlPath = fileURLToPath(new URL("roles.sql", import.meta.url));

/**
 * The text of `roles.sql`: idempotent, plain SQL (no psql commands), for a superuser connected to
 * the database that is to be prepared.
 */
export function rolesSql(): string {
  const sections = [
    header,
    section("Roles. Passwords are set elsewhere.", roles.map(roleStatements)),
    section("Memberships.", roles.flatMap(membershipStatements)),
    section("Settings of their sessions.", roles.flatMap(settingStatements)),
    section(
      "Extensions.",
      extensions.map(
        (name) => `CREATE EXTENSION IF NOT EXISTS ${identifier(name)} SCHEMA ${schemaName};`,
      ),
    ),
    section("The database: what nobody was granted, nobody has.", [databaseStatement()]),
    section("The schema.", [
      `ALTER SCHEMA ${schemaName} OWNER TO ${ownerRole};`,
      `REVOKE ALL ON SCHEMA ${schemaName} FROM PUBLIC;`,
      ...schemaPrivileges.map(
        ({ role, privileges }) =>
          `GRANT ${privileges.join(", ")} ON SCHEMA ${schemaName} TO ${role};`,
      ),
    ]),
    section("Backup functions, under the names of the server's version.", [backupStatement()]),
    section("Functions with which any login could disturb others (docs/decisions/0061).", [
      closingStatement(),
    ]),
    section(
      "Hand over what stands in the schema already, as in a database that was made by hand.",
      [handOver],
    ),
  ];
  return sections.join("\n");
}

const header = `-- Generated from database/roles.ts: node database/roles-sql.ts
-- Prepares a database for \`ctm migrate up\` on a server that Pulumi does not provision.
-- Run as a superuser, connected to that database. May be run any number of times.
`;

function section(title: string, statements: readonly string[]): string {
  return `-- ${title}\n${statements.join("\n")}\n`;
}

function roleStatements(role: DatabaseRole): string {
  const attributes = [
    role.login ? "LOGIN" : "NOLOGIN",
    role.replication ? "REPLICATION" : "NOREPLICATION",
    "NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT",
    `CONNECTION LIMIT ${role.connectionLimit ?? -1}`,
  ].join(" ");
  return `DO $$ BEGIN CREATE ROLE ${role.name}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ${role.name} ${attributes};
COMMENT ON ROLE ${role.name} IS ${literal(role.purpose)};`;
}

function membershipStatements(role: DatabaseRole): string[] {
  return role.memberOf.map((group) => `GRANT ${group} TO ${role.name};`);
}

function settingStatements(role: DatabaseRole): string[] {
  return Object.entries(role.settings ?? {}).map(
    ([name, value]) => `ALTER ROLE ${role.name} SET ${name} = ${literal(value)};`,
  );
}

function databaseStatement(): string {
  const grants = databasePrivileges.map(
    ({ role, privileges }) =>
      `  EXECUTE format('GRANT ${privileges.join(", ")} ON DATABASE %I TO ${role}', current_database());`,
  );
  return `DO $$
BEGIN
  EXECUTE format('ALTER DATABASE %I OWNER TO ${ownerRole}', current_database());
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
${grants.join("\n")}
END
$$;`;
}

function backupStatement(): string {
  const since15 = new Set(backupFunctions(15));
  const before15 = new Set(backupFunctions(14));
  const all = new Set([...before15, ...since15]);
  const grants = [...all].map((signature) => {
    const grant = `GRANT EXECUTE ON FUNCTION pg_catalog.${signature} TO ctm_backup;`;
    if (since15.has(signature) && before15.has(signature)) return `  ${grant}`;
    const condition = since15.has(signature) ? ">=" : "<";
    return `  IF current_setting('server_version_num')::integer ${condition} 150000 THEN\n    ${grant}\n  END IF;`;
  });
  return `DO $$\nBEGIN\n${grants.join("\n")}\nEND\n$$;`;
}

// Granted before it is taken from everybody: a database that is in use goes on.
function closingStatement(): string {
  return `DO $$
DECLARE
  routine regprocedure;
BEGIN
  FOR routine IN
    SELECT oid FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
      AND proname IN (${closedFunctions.map(literal).join(", ")})
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO ${ownerRole}', routine);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', routine);
  END LOOP;
END
$$;`;
}

// Extension members stay with the extension; indexes, row types and owned sequences follow their
// table. A function that was handed to another role of ours on purpose stays there.
const handOver = `DO $$
DECLARE
  statement text;
BEGIN
  FOR statement IN
    SELECT format('ALTER %s %I.%I OWNER TO ${ownerRole}',
                  CASE class.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                                     WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                  namespace.nspname, class.relname)
    FROM pg_class class
    JOIN pg_namespace namespace ON namespace.oid = class.relnamespace
    WHERE namespace.nspname = '${schemaName}'
      AND class.relkind IN ('r', 'p', 'v', 'm', 'S')
      AND class.relowner <> '${ownerRole}'::regrole
      AND NOT EXISTS (SELECT FROM pg_depend depend
                      WHERE depend.classid = 'pg_class'::regclass AND depend.objid = class.oid
                        AND depend.deptype IN ('e', 'a', 'i'))
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO ${ownerRole}', routine.oid::regprocedure)
    FROM pg_proc routine
    JOIN pg_namespace namespace ON namespace.oid = routine.pronamespace
    WHERE namespace.nspname = '${schemaName}'
      AND routine.prokind IN ('f', 'p')
      AND routine.proowner NOT IN ('${ownerRole}'::regrole, '${keyLookupRole}'::regrole)
      AND NOT EXISTS (SELECT FROM pg_depend depend
                      WHERE depend.classid = 'pg_proc'::regclass AND depend.objid = routine.oid
                        AND depend.deptype = 'e')
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;`;

function identifier(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name}"`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

if (import.meta.main) await writeFileAtomic(rolesSqlPath, rolesSql(), { mode: 0o644 });
