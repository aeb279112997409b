import { Client, DatabaseError, type ClientConfig } from "pg";
import { z } from "zod";
import type { Descriptor } from "#stack";
import { CtmError, readFileIfExists } from "#system";

/**
 * How provisioning connects: over the read-write port, as `postgres`, proven by a client
 * certificate that only the user who runs `up` can read. Why not the socket:
 * docs/decisions/0003-provisioning-certificate.md.
 */
export const provisioningSchema = z.strictObject({
  host: z.string(),
  port: z.int().min(1).max(65535),
  /** PEM files. */
  authority: z.string().startsWith("/"),
  certificate: z.string().startsWith("/"),
  key: z.string().startsWith("/"),
});
export type Provisioning = z.infer<typeof provisioningSchema>;

/** How provisioning reaches a stack that exists. */
export function provisioningOf(descriptor: Descriptor): Provisioning {
  const { host, port } = descriptor.postgres.rw;
  return {
    host,
    port,
    authority: descriptor.tls.authority,
    ...descriptor.postgres.provisioning,
  };
}

/** Seconds to wait for a connection everywhere (design: 10 s). */
export const connectTimeoutMs = 10_000;

/** Runs `work` on a connection as superuser `postgres`, and closes it. */
export async function asSuperuser<T>(
  provisioning: Provisioning,
  database: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  return await using(new Client(await superuserSettings(provisioning, database)), work);
}

/** As `asSuperuser`, for what may be gone with its database: undefined where that is. */
export async function asSuperuserIfExists<T>(
  provisioning: Provisioning,
  database: string,
  work: (client: Client) => Promise<T>,
): Promise<T | undefined> {
  try {
    return await asSuperuser(provisioning, database, work);
  } catch (error) {
    if (error instanceof DatabaseError && error.code === "3D000") return undefined;
    throw error;
  }
}

/** Connection settings for superuser `postgres`, for a connection that outlives one call. */
export async function superuserSettings(
  provisioning: Provisioning,
  database: string,
): Promise<ClientConfig> {
  return {
    host: provisioning.host,
    port: provisioning.port,
    user: "postgres",
    database,
    ssl: {
      ca: await fileText(provisioning.authority),
      cert: await fileText(provisioning.certificate),
      key: await fileText(provisioning.key),
    },
    connectionTimeoutMillis: connectTimeoutMs,
    application_name: "ctm provisioning",
  };
}

/** Connects, runs `work`, and ends the connection whatever happens. */
export async function using<T>(client: Client, work: (client: Client) => Promise<T>): Promise<T> {
  // An idle connection that the server closes would otherwise end the whole process.
  client.on("error", () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Connection settings for a login role with TLS verified against the stack's authority. */
export async function loginSettings(
  target: { host: string; port: number; authority: string },
  login: { user: string; password: string; database: string },
): Promise<ClientConfig> {
  return {
    host: target.host,
    port: target.port,
    user: login.user,
    password: login.password,
    database: login.database,
    ssl: { ca: await fileText(target.authority) },
    connectionTimeoutMillis: connectTimeoutMs,
  };
}

async function fileText(path: string): Promise<string> {
  const text = await readFileIfExists(path);
  if (text !== undefined) return text;
  throw new CtmError("file-missing", `${path} does not exist`, {
    next: "npm run up writes it anew",
  });
}
