import * as postgresql from "@pulumi/postgresql";
import * as pulumi from "@pulumi/pulumi";
import { migrationFiles } from "#database";
import {
  backupFunctions,
  closedFunctions,
  databaseName,
  databasePrivileges,
  extensions,
  ownerRole,
  roles,
  schemaName,
  schemaPrivileges,
  type DatabaseRole,
} from "../../database/roles.ts";
import {
  ClosedFunctions,
  DropMarkers,
  FunctionGrants,
  Login,
  Migrations,
  RoleSettings,
} from "../provider/resources.ts";
import { settingsOfRoleResource } from "../provider/types/role-settings.ts";
import type { LoginRole, Security } from "../security.ts";
import { listenAddress } from "../topology.ts";
import type { Provisioning } from "./connection.ts";

export interface PostgresDatabaseArguments {
  serverVersion: number;
  readWritePort: pulumi.Output<number>;
  security: Security;
  /** The cluster: what is in it goes with it. */
  cluster: pulumi.Resource;
  /** What must be done before the first connection. */
  after: pulumi.Resource[];
}

/** Patroni makes this one before Pulumi can connect: its standby needs it to exist at all. */
const madeByPatroni = "ctm_replicator";

/** pg_rewind's functions (https://www.postgresql.org/docs/15/app-pgrewind.html, Notes). */
const rewindFunctions = [
  "pg_ls_dir(text, boolean, boolean)",
  "pg_stat_file(text, boolean)",
  "pg_read_binary_file(text)",
  "pg_read_binary_file(text, bigint, bigint, boolean)",
];

/** Roles, the database, its extensions, who may enter, and the schema by its migrations. */
export class PostgresDatabase extends pulumi.ComponentResource {
  readonly migrations: Migrations;
  /** pgBackRest can work: its role exists and may start a backup. */
  readonly backupReady: pulumi.Resource[];
  /** Each role that logs in, proven to be able to. */
  readonly logins: pulumi.Resource[];

  static async create(
    name: string,
    args: PostgresDatabaseArguments,
    options: pulumi.ComponentResourceOptions = {},
  ): Promise<PostgresDatabase> {
    const files = await migrationFiles();
    const byName = Object.fromEntries(files.map((file) => [file.name, file.sha256]));
    return new PostgresDatabase(name, args, byName, options);
  }

  private constructor(
    name: string,
    args: PostgresDatabaseArguments,
    files: Record<string, string>,
    options: pulumi.ComponentResourceOptions,
  ) {
    super("ctm:postgres:PostgresDatabase", name, {}, options);
    const { security, cluster } = args;
    const provisioning = args.readWritePort.apply((port) => ({
      host: listenAddress,
      port,
      authority: security.authorityPath,
      ...security.provisioning,
    }));
    const provider = new postgresql.Provider(
      "postgresql",
      {
        host: listenAddress,
        port: args.readWritePort,
        username: "postgres",
        database: "postgres",
        sslmode: "verify-full",
        sslrootcert: security.authorityPath,
        clientcert: { cert: security.provisioning.certificate, key: security.provisioning.key },
        // Its own default is three minutes.
        connectTimeout: 10,
        superuser: true,
        expectedVersion: `${args.serverVersion}.0.0`,
      },
      { parent: this, dependsOn: args.after },
    );
    const child = { parent: this, deletedWith: cluster };
    const external = { ...child, provider };

    const made = new Map<string, pulumi.Resource>();
    const settled: pulumi.Resource[] = [];
    for (const role of roles) {
      const resource = this.#role(role, made, args, external, provisioning);
      made.set(role.name, resource);
      settled.push(resource);
      const settings = Object.entries(role.settings ?? {}).filter(
        ([setting]) => !settingsOfRoleResource.includes(setting),
      );
      if (settings.length > 0 && role.name !== madeByPatroni) {
        settled.push(
          new RoleSettings(
            `${role.name}-settings`,
            { role: role.name, settings: Object.fromEntries(settings), provisioning },
            { ...child, dependsOn: resource },
          ),
        );
      }
    }

    const database = new postgresql.Database(
      "database",
      {
        name: databaseName,
        owner: ownerRole,
        encoding: "UTF8",
        lcCollate: "C.UTF-8",
        lcCtype: "C.UTF-8",
        template: "template0",
      },
      { ...external, dependsOn: settled, protect: true },
    );
    const madeExtensions = extensions.map(
      (extension) =>
        new postgresql.Extension(
          `extension-${extension}`,
          { name: extension, database: databaseName, schema: schemaName },
          { ...external, dependsOn: database },
        ),
    );
    const grants = this.#privileges(database, external);
    const backup = new FunctionGrants(
      "backup-functions",
      {
        role: "ctm_backup",
        functions: [...backupFunctions(args.serverVersion)],
        databases: ["postgres"],
        provisioning,
      },
      { ...child, dependsOn: settled },
    );
    const rewind = new FunctionGrants(
      "rewind-functions",
      { role: madeByPatroni, functions: rewindFunctions, databases: ["postgres"], provisioning },
      { ...child, dependsOn: settled },
    );
    this.backupReady = [backup, rewind];
    const closed = new ClosedFunctions(
      "closed-functions",
      { database: databaseName, functions: [...closedFunctions], role: ownerRole, provisioning },
      { ...child, dependsOn: database },
    );
    const dropped = new DropMarkers(
      "drop-markers",
      { database: databaseName, marks: "every drop", provisioning },
      { ...child, dependsOn: database },
    );
    this.logins = roles.flatMap((role) =>
      this.#login(role, args, child, provisioning, [...grants, ...settled]),
    );
    this.migrations = new Migrations(
      "migrations",
      {
        provisioning,
        database: databaseName,
        user: "ctm_migrator",
        password: security.passwords.ctm_migrator.value,
        files,
      },
      // The migrator logs in with a password that a login may have to repair first.
      {
        ...child,
        dependsOn: [...settled, ...madeExtensions, ...grants, ...this.logins, closed, dropped],
      },
    );
    this.registerOutputs({});
  }

  #role(
    role: DatabaseRole,
    made: ReadonlyMap<string, pulumi.Resource>,
    args: PostgresDatabaseArguments,
    options: pulumi.CustomResourceOptions,
    provisioning: pulumi.Output<Provisioning>,
  ): pulumi.Resource {
    if (role.name === madeByPatroni) {
      const { provider: _provider, ...own } = options;
      return new Login(
        `${role.name}-login`,
        {
          role: role.name,
          database: "postgres",
          password: args.security.passwords.ctm_replicator.value,
          verifier: args.security.passwords.ctm_replicator.verifier,
          provisioning,
          replication: true,
          login: "works",
        },
        { ...own, dependsOn: args.after },
      );
    }
    const password = isLoginRole(role.name) ? args.security.passwords[role.name] : undefined;
    return new postgresql.Role(
      role.name,
      {
        name: role.name,
        login: role.login,
        roles: [...role.memberOf],
        inherit: true,
        connectionLimit: role.connectionLimit ?? -1,
        ...(role.replication === undefined ? {} : { replication: role.replication }),
        ...(password === undefined ? {} : { password: password.verifier }),
        ...milliseconds("statementTimeout", role.settings?.["statement_timeout"]),
        ...milliseconds(
          "idleInTransactionSessionTimeout",
          role.settings?.["idle_in_transaction_session_timeout"],
        ),
        // Objects of a role go with the cluster, never by a change of roles.
        skipReassignOwned: true,
      },
      {
        ...options,
        dependsOn: role.memberOf.flatMap((group) => made.get(group) ?? []),
      },
    );
  }

  #login(
    role: DatabaseRole,
    args: PostgresDatabaseArguments,
    options: pulumi.CustomResourceOptions,
    provisioning: pulumi.Output<Provisioning>,
    after: pulumi.Resource[],
  ): Login[] {
    if (!isLoginRole(role.name) || role.name === madeByPatroni) return [];
    const password = args.security.passwords[role.name];
    const login = new Login(
      `${role.name}-login`,
      {
        role: role.name,
        // Whether it may enter the database is the grants' to say, and theirs alone to show.
        database: "postgres",
        password: password.value,
        verifier: password.verifier,
        provisioning,
        replication: null,
        login: "works",
      },
      { ...options, dependsOn: after },
    );
    return [login];
  }

  /** One after the other: grants on one object at once fail with "tuple concurrently updated". */
  #privileges(
    database: postgresql.Database,
    options: pulumi.CustomResourceOptions,
  ): pulumi.Resource[] {
    const grants: pulumi.Resource[] = [];
    let previous: pulumi.Resource = database;
    const grant = (
      name: string,
      objectType: "database" | "schema",
      role: string,
      privileges: readonly string[],
    ): void => {
      previous = new postgresql.Grant(
        name,
        {
          role,
          database: databaseName,
          objectType,
          privileges: [...privileges],
          ...(objectType === "schema" ? { schema: schemaName } : {}),
        },
        { ...options, dependsOn: previous },
      );
      grants.push(previous);
    };
    grant("database-public", "database", "public", []);
    for (const { role, privileges } of databasePrivileges) {
      grant(`database-${role}`, "database", role, privileges);
    }
    grant("schema-public", "schema", "public", []);
    grant(`schema-${ownerRole}`, "schema", ownerRole, ["CREATE", "USAGE"]);
    for (const { role, privileges } of schemaPrivileges) {
      grant(`schema-${role}`, "schema", role, privileges);
    }
    return grants;
  }
}

function isLoginRole(name: string): name is LoginRole {
  return roles.some((role) => role.name === name && role.login);
}

/** The Role resource counts milliseconds; the table of roles speaks PostgreSQL ("30s"). */
function milliseconds<Name extends string>(
  name: Name,
  setting: string | undefined,
): Partial<Record<Name, number>> {
  const seconds = /^(\d+)s$/.exec(setting ?? "")?.[1];
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one computed key
  return seconds === undefined ? {} : ({ [name]: Number(seconds) * 1000 } as Record<Name, number>);
}
