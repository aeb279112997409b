import type { DatabaseConnection } from "#database";
import type { Context } from "../command.ts";
import { stackConnection } from "../facts/connection.ts";
import { openStack } from "../open-stack.ts";
import { optional, Unreadable } from "../parameters.ts";

/** Where a migration command works: the stack's primary, or any server that a URL names. */
export const urlFlag = optional(
  "URL",
  "another server instead of the stack; leave its password to PGPASSWORD or ~/.pgpass",
  databaseUrl,
);

/**
 * The way to the database, as its owner.
 *
 * @throws CtmError `no-such-stack`, `credential-missing`, `no-permission`
 */
export async function targetConnection(
  url: string | undefined,
  context: Context,
): Promise<DatabaseConnection> {
  if (url !== undefined) return { connectionString: url, role: "ctm_owner" };
  const stack = await openStack(context);
  return { ...(await stackConnection(stack, "ctm_migrator")), role: "ctm_owner" };
}

function databaseUrl(given: string): string {
  // A socket's folder is a parameter, and then there is no host for URL to read.
  if (/^postgres(?:ql)?:\/\//.test(given)) return given;
  throw new Unreadable("is no URL such as postgresql://ctm_migrator@host:5432/taskmaster");
}
