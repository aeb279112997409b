import { join } from "node:path";
import { CtmError } from "#system";
import type { StackPaths } from "./paths.ts";
import { readOwn } from "./read-own.ts";

/**
 * Every secret file below `credentials/` (0600), by its name:
 * a database role's password under the role's name, `pgpass` with all of them for libpq,
 * `patroni-rest` (user:password of Patroni's REST API), `repository-cipher` (pgBackRest's
 * passphrase), `settings-key` (key of encrypted settings), `cloudflare-token` (of Cloudflare's API),
 * `access-tokens` (JSON: client id and secret of every service token, by NAME-GENERATION).
 */
export type CredentialName =
  | "ctm_migrator"
  | "ctm_api"
  | "ctm_query"
  | "ctm_monitor"
  | "ctm_replicator"
  | "ctm_backup"
  | "patroni-rest"
  | "repository-cipher"
  | "settings-key"
  | "pgpass"
  | "cloudflare-token"
  | "access-tokens";

export function credentialPath(paths: StackPaths, name: CredentialName): string {
  return join(paths.credentials, name);
}

/**
 * Reads one credential, without its line end.
 *
 * @throws CtmError `credential-missing`, `no-permission`
 */
export async function readCredential(paths: StackPaths, name: CredentialName): Promise<string> {
  const path = credentialPath(paths, name);
  const text = await readOwn(path);
  if (text === undefined) {
    throw new CtmError("credential-missing", `${path} does not exist`, {
      next: "npm run up writes it anew from the stack's state",
    });
  }
  return text.replace(/\n$/, "");
}
