import { readFile } from "node:fs/promises";
import type { ClientConfig } from "pg";
import { readCredential, type CredentialName } from "#stack";
import type { Stack } from "../open-stack.ts";

/** Roles that log in with a password of their own. */
export type LoginRole = Extract<CredentialName, `ctm_${string}`>;

/**
 * How to reach a stack's database from here: through the proxy, verify-full against its own CA.
 *
 * @param door `rw` leads to the leader, `ro` to a replica (or the leader, where there is none)
 * @throws CtmError `credential-missing`, `no-permission`
 */
export async function stackConnection(
  { descriptor, paths }: Stack,
  role: LoginRole,
  door: "rw" | "ro" = "rw",
): Promise<ClientConfig> {
  const { host, port } = descriptor.postgres[door];
  return {
    host,
    port,
    database: descriptor.postgres.database,
    user: role,
    password: await readCredential(paths, role),
    ssl: { ca: await readFile(descriptor.tls.authority, "utf8") },
  };
}
