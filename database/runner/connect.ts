import { userInfo } from "node:os";
import { Client, DatabaseError, type ClientConfig } from "pg";
import { CtmError, messageOf, systemErrorCode } from "#system";

/** Where to connect and as whom; `role` is taken with SET ROLE after logging in. */
export type DatabaseConnection = ClientConfig & { role?: "ctm_owner" };

/** Deadline for the server's first answer, in milliseconds. */
const connectTimeoutMs = 10_000;
/** The oldest server that the schema supports, as server_version_num. */
const oldestServer = 130_000;

/**
 * Opens a connection and takes the role.
 *
 * @throws CtmError `no-connection`, `login-refused`, `no-such-database`, `server-not-ready`,
 *   `too-many-connections`, `role-missing`, `role-refused`, `server-too-old`: each one clear
 *   sentence with the place, never the password
 */
export async function connect(
  connection: DatabaseConnection,
  applicationName: string,
): Promise<Client> {
  const { role, ...config } = connection;
  const client = new Client({
    connectionTimeoutMillis: connectTimeoutMs,
    // A network that dies silently is noticed after this, and the system's own probes.
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    application_name: applicationName,
    ...config,
  });
  // Without a listener a connection lost between two queries would end the process; the next
  // query reports the loss.
  client.on("error", () => undefined);
  try {
    await client.connect();
  } catch (error) {
    await client.end().catch(() => undefined);
    throw connectFailure(error, client, config.connectionTimeoutMillis ?? connectTimeoutMs);
  }
  try {
    await checkVersion(client);
    if (role !== undefined) await takeRole(client, role);
    return client;
  } catch (error) {
    await disconnect(client);
    throw error;
  }
}

/** Closes a connection; one that is already lost is no trouble. */
export async function disconnect(client: Client): Promise<void> {
  await client.end().catch(() => undefined);
}

/** The place that a connection leads to, for messages: no secret in it. */
export function describeServer(client: Client): string {
  const place = client.host.startsWith("/")
    ? `${client.host}/.s.PGSQL.${client.port}`
    : `${client.host.includes(":") ? `[${client.host}]` : client.host}:${client.port}`;
  return `${place} (database ${client.database ?? "unnamed"}, user ${client.user ?? userInfo().username})`;
}

/** True when the error means that the connection is gone, so the server's state is unknown. */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof DatabaseError) {
    // 57P01 to 57P03: shut down, crashed, cannot connect now; class 08: connection exceptions;
    // 25P03: idle_in_transaction_session_timeout ends the session.
    return /^(?:57P0[123]|08...|25P03)$/.test(error.code ?? "");
  }
  const code = systemErrorCode(error);
  if (code !== undefined && /^(?:ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)$/.test(code)) {
    return true;
  }
  // pg 8 has no codes for these (client.js).
  return (
    error instanceof Error &&
    /^(?:Connection terminated|Client has encountered a connection error|Client was closed)/.test(
      error.message,
    )
  );
}

async function checkVersion(client: Client): Promise<void> {
  const { rows } = await client.query<{ number: string; version: string }>(
    "SELECT current_setting('server_version_num') AS number, current_setting('server_version') AS version",
  );
  const [found] = rows;
  if (found === undefined || Number(found.number) >= oldestServer) return;
  throw new CtmError(
    "server-too-old",
    `the server at ${describeServer(client)} is PostgreSQL ${found.version}; the schema needs 13 or newer`,
    { next: "upgrade the server, or choose another one" },
  );
}

async function takeRole(client: Client, role: string): Promise<void> {
  try {
    await client.query(`SET ROLE ${client.escapeIdentifier(role)}`);
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    if (error.code === "22023") {
      throw new CtmError(
        "role-missing",
        `the role ${role} does not exist on ${describeServer(client)}`,
        { next: "apply database/roles.sql as a superuser, then run this again", cause: error },
      );
    }
    if (error.code === "42501") {
      throw new CtmError(
        "role-refused",
        `${client.user ?? "this user"} may not take the role ${role} on ${describeServer(client)}`,
        { next: `connect as ctm_migrator, or GRANT ${role} TO the user`, cause: error },
      );
    }
    throw error;
  }
}

function connectFailure(error: unknown, client: Client, timeoutMs: number): CtmError {
  const place = describeServer(client);
  if (error instanceof DatabaseError) {
    const known = refusals[error.code ?? ""];
    if (known !== undefined) {
      return new CtmError(known.code, `${place}: ${error.message}`, {
        next: known.next,
        cause: error,
      });
    }
    return new CtmError("no-connection", `${place}: ${error.message}`, {
      next: "read the server's log",
      cause: error,
    });
  }
  const message = messages(error);
  // pg's own words (sasl.js) for a server that asks for a password when none was given.
  if (/client password must be a/.test(message)) {
    return new CtmError("login-refused", `${place}: a password is needed and none was given`, {
      next: "give it in the URL, in PGPASSWORD or in ~/.pgpass",
      cause: error,
    });
  }
  if (/^(?:timeout expired|Connection terminated due to connection timeout)/.test(message)) {
    return new CtmError(
      "no-connection",
      `${place}: no answer within ${Math.round(timeoutMs / 100) / 10} s`,
      { next: "check the address and that nothing on the way blocks it", cause: error },
    );
  }
  return new CtmError("no-connection", `${place}: ${message}`, {
    next: "check that the server runs and the address is right",
    cause: error,
  });
}

/** A name with several addresses fails with one error for each, and an empty message above. */
function messages(error: unknown): string {
  if (!(error instanceof AggregateError)) return messageOf(error);
  return [...new Set(error.errors.map((inner: unknown) => messageOf(inner)))].join("; ");
}

const refusals: Record<string, { code: string; next: string }> = {
  "28P01": { code: "login-refused", next: "check user and password" },
  "28000": { code: "login-refused", next: "check user, TLS mode and the server's pg_hba.conf" },
  "3D000": { code: "no-such-database", next: "create the database, or name another one" },
  "57P03": { code: "server-not-ready", next: "wait until the server has started, then try again" },
  "53300": {
    code: "too-many-connections",
    next: "close connections (ctm status shows who holds them), then try again",
  },
};
