import { existsSync, readFileSync, statSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { join } from "node:path";
import { RunnerError } from "../errors.ts";

/** How libpq protects a connection; the words are its own. */
export type SslMode = "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full";

/** Where to connect. What is left out comes from the PG* variables, then from libpq's defaults. */
export interface ConnectionOptions {
  /** `postgresql://user@host:port/database?sslmode=…`, or libpq's `host=… dbname=…`. */
  url?: string;
  /** Host name, address, or the directory of the server's Unix socket. */
  host?: string;
  port?: number;
  user?: string;
  /** The database that holds the schema under test. It serves as the template of the clones. */
  database?: string;
  password?: string;
  /** A database to connect to while the tested one is copied. Default `postgres`. */
  maintenanceDatabase?: string;
}

/** Everything needed to open a connection; nothing in it is taken from elsewhere later. */
export interface ConnectionSettings {
  host: string;
  port: number;
  user: string;
  database: string;
  password: string | undefined;
  maintenanceDatabase: string | undefined;
  /** Command-line options for the server process, as in PGOPTIONS. */
  serverOptions: string;
  sslMode: SslMode;
  sslRootCertificate: string | undefined;
  sslCertificate: string | undefined;
  sslKey: string | undefined;
  connectTimeoutMs: number;
}

const sslModes: readonly string[] = [
  "disable",
  "allow",
  "prefer",
  "require",
  "verify-ca",
  "verify-full",
];

function isSslMode(value: string): value is SslMode {
  return sslModes.includes(value);
}

/** libpq's parameter names and the environment variables behind them. */
const environmentOf: Readonly<Record<string, string>> = {
  host: "PGHOST",
  hostaddr: "PGHOSTADDR",
  port: "PGPORT",
  user: "PGUSER",
  dbname: "PGDATABASE",
  password: "PGPASSWORD",
  passfile: "PGPASSFILE",
  service: "PGSERVICE",
  options: "PGOPTIONS",
  sslmode: "PGSSLMODE",
  sslrootcert: "PGSSLROOTCERT",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
  connect_timeout: "PGCONNECT_TIMEOUT",
};

/**
 * Settles every parameter in libpq's order: what was passed, the URL, the environment, the service
 * file, the defaults.
 *
 * @throws RunnerError `bad-connection` (exit code 2) naming the parameter
 */
export function resolveConnection(
  options: ConnectionOptions = {},
  environment: NodeJS.ProcessEnv = process.env,
): ConnectionSettings {
  const given = options.url === undefined ? new Map<string, string>() : parseUrl(options.url);
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined) given.set(name, value);
  };
  set("host", options.host);
  set("port", options.port?.toString());
  set("user", options.user);
  set("dbname", options.database);
  set("password", options.password);

  const fromEnvironment = (name: string): string | undefined => {
    const variable = environmentOf[name];
    const value = variable === undefined ? undefined : environment[variable];
    return value === "" ? undefined : value;
  };
  const serviceName = given.get("service") ?? fromEnvironment("service");
  const service =
    serviceName === undefined ? new Map<string, string>() : readService(serviceName, environment);
  const find = (name: string): string | undefined =>
    given.get(name) ?? fromEnvironment(name) ?? service.get(name);

  const port = number("port", find("port") ?? "5432");
  const host = find("hostaddr") ?? find("host") ?? defaultHost(port);
  const user = find("user") ?? userInfo().username;
  const database = find("dbname") ?? user;
  const sslMode = find("sslmode") ?? "prefer";
  if (!isSslMode(sslMode)) {
    throw new RunnerError(
      "bad-connection",
      `sslmode "${sslMode}" is none of ${sslModes.join(", ")}`,
      {
        exitCode: 2,
      },
    );
  }
  // libpq reads these two as settings of the session; both are part of what a test may see.
  const sessionSettings: [string, string | undefined][] = [
    ["TimeZone", environment["PGTZ"]],
    ["DateStyle", environment["PGDATESTYLE"]],
  ];
  const serverOptions = [
    find("options") ?? "",
    ...sessionSettings.flatMap(([name, value]) =>
      value === undefined || value === "" ? [] : [`-c ${name}=${value.replace(/[\\ ]/g, "\\$&")}`],
    ),
  ].filter((part) => part !== "");
  return {
    host,
    port,
    user,
    database,
    password:
      given.get("password") ??
      fromEnvironment("password") ??
      service.get("password") ??
      readPasswordFile(find("passfile") ?? join(homedir(), ".pgpass"), [
        host.startsWith("/") ? "localhost" : host,
        String(port),
        database,
        user,
      ]),
    maintenanceDatabase: options.maintenanceDatabase,
    serverOptions: serverOptions.join(" "),
    sslMode,
    sslRootCertificate: find("sslrootcert") ?? ifFile(join(homedir(), ".postgresql", "root.crt")),
    sslCertificate: find("sslcert") ?? ifFile(join(homedir(), ".postgresql", "postgresql.crt")),
    sslKey: find("sslkey") ?? ifFile(join(homedir(), ".postgresql", "postgresql.key")),
    connectTimeoutMs: number("connect_timeout", find("connect_timeout") ?? "10") * 1000,
  };
}

/** The variables that make psql connect exactly as we do. */
export function psqlEnvironment(settings: ConnectionSettings): NodeJS.ProcessEnv {
  const values: Record<string, string | undefined> = {
    PGHOST: settings.host,
    PGHOSTADDR: undefined,
    PGPORT: String(settings.port),
    PGUSER: settings.user,
    PGDATABASE: settings.database,
    PGPASSWORD: settings.password,
    PGSERVICE: undefined,
    PGOPTIONS: settings.serverOptions === "" ? undefined : settings.serverOptions,
    PGSSLMODE: settings.sslMode,
    PGSSLROOTCERT: settings.sslRootCertificate,
    PGSSLCERT: settings.sslCertificate,
    PGSSLKEY: settings.sslKey,
  };
  return { ...process.env, ...values };
}

function number(name: string, value: string): number {
  if (!/^\d+$/.test(value)) {
    throw new RunnerError("bad-connection", `${name} "${value}" is not a number`, { exitCode: 2 });
  }
  return Number(value);
}

function ifFile(path: string): string | undefined {
  return existsSync(path) ? path : undefined;
}

/** libpq prefers the socket directory it was built with; packages use one of these two. */
function defaultHost(port: number): string {
  const directory = ["/var/run/postgresql", "/tmp"].find((path) =>
    existsSync(join(path, `.s.PGSQL.${port}`)),
  );
  return directory ?? "localhost";
}

function parseUrl(text: string): Map<string, string> {
  const parameters = new Map<string, string>();
  if (!/^postgres(ql)?:\/\//.test(text)) {
    // libpq's other form: `key=value key='quoted value'`.
    const pattern = /\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S*))\s*/gy;
    let end = 0;
    for (const match of text.matchAll(pattern)) {
      end = match.index + match[0].length;
      parameters.set(match[1] ?? "", (match[2] ?? match[3] ?? "").replace(/\\(.)/g, "$1"));
    }
    if (parameters.size === 0 || end !== text.length) {
      throw new RunnerError(
        "bad-connection",
        "the URL starts with neither postgresql:// nor key=",
        {
          exitCode: 2,
          next: "postgresql://user@host:port/database",
        },
      );
    }
    return parameters;
  }
  let url: URL;
  try {
    // `postgresql:///db` has no host, which only "special" schemes lack a notion of.
    url = new URL(text);
  } catch (error) {
    // The URL may hold a password: it does not belong in a message.
    throw new RunnerError("bad-connection", "the URL cannot be read", {
      exitCode: 2,
      next: "postgresql://user@host:port/database",
      cause: error,
    });
  }
  const decode = (name: string, value: string): void => {
    if (value !== "") parameters.set(name, decodeURIComponent(value));
  };
  decode("host", url.hostname.replace(/^\[(.*)\]$/, "$1"));
  decode("port", url.port);
  decode("user", url.username);
  decode("password", url.password);
  decode("dbname", url.pathname.slice(1));
  for (const [name, value] of url.searchParams) parameters.set(name, value);
  return parameters;
}

function readService(name: string, environment: NodeJS.ProcessEnv): Map<string, string> {
  const files = [
    environment["PGSERVICEFILE"] ?? join(homedir(), ".pg_service.conf"),
    join(environment["PGSYSCONFDIR"] ?? "/etc/postgresql-common", "pg_service.conf"),
  ];
  for (const file of files) {
    if (!existsSync(file)) continue;
    let section: string | undefined;
    const found = new Map<string, string>();
    let exists = false;
    for (const line of readFileSync(file, "utf8").split("\n")) {
      const text = line.trim();
      const header = /^\[(.+)\]$/.exec(text);
      if (header !== null) section = header[1];
      if (section !== name) continue;
      exists = true;
      const pair = /^([a-z_]+)\s*=\s*(.*)$/.exec(text);
      if (pair !== null) found.set(pair[1] ?? "", pair[2] ?? "");
    }
    if (exists) return found;
  }
  throw new RunnerError("bad-connection", `service "${name}" is in none of ${files.join(", ")}`, {
    exitCode: 2,
  });
}

/** The password of the first line that matches host, port, database and user. */
function readPasswordFile(path: string, wanted: readonly string[]): string | undefined {
  if (!existsSync(path)) return undefined;
  // libpq ignores a password file that others can read, and so do we.
  if ((statSync(path).mode & 0o077) !== 0) return undefined;
  for (const line of readFileSync(path, "utf8").split("\n")) {
    if (line.startsWith("#")) continue;
    const fields = line.match(/(?:[^:\\]|\\.)+/g) ?? [];
    if (fields.length < 5) continue;
    const values = fields.map((field) => field.replace(/\\(.)/g, "$1"));
    // The clones have other names than the database in the file: they share its password.
    if (wanted.every((value, index) => values[index] === "*" || values[index] === value)) {
      return values[4];
    }
  }
  return undefined;
}
