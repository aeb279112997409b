import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { credentialPath, type StackPaths } from "#stack";
import { CtmError, exists } from "#system";
import { defineCommand } from "../command.ts";
import { openStack, type Stack } from "../open-stack.ts";
import { anyText, optional, repeated, toggle, Unreadable } from "../parameters.ts";
import { cleanEnvironment, createShell } from "../shell.ts";

export const command = defineCommand({
  help: "Opens psql on the primary as the database's owner, over TLS. What stands after -- goes to psql; its exit code is ours. With --json psql's output comes as one document.",
  examples: [
    { run: "ctm psql", does: "a prompt on the primary" },
    { run: 'ctm psql -- -c "select count(*) from tasks"', does: "one statement" },
    { run: "ctm psql --read-only", does: "on a replica, where nothing can be written" },
    { run: "ctm psql --role readonly_users", does: "with what that role may do" },
  ],
  arguments: { rest: repeated("ARGS", "for psql, after --", anyText) },
  flags: {
    role: optional("NAME", "which role to be (default ctm_owner)", roleName),
    readOnly: toggle("on a replica, in read-only transactions"),
  },
  document: z.strictObject({ exit_code: z.int(), output: z.string().nullable() }),
  async run({ rest, role, readOnly }, context) {
    const stack = await openStack(context);
    const { owner, binaries } = stack.descriptor.postgres;
    const actor = role ?? owner;
    const env = {
      ...cleanEnvironment(context.env),
      ...(await environmentFor(stack, actor, readOnly)),
    };
    const psql = join(binaries, "psql");
    const args = [`--set=PROMPT1=${prompt(stack, actor, readOnly)}`, ...rest];
    if (!context.json) {
      const exit_code = await context.handOver({ command: psql, args, env });
      return { exit_code, output: null };
    }
    const shell = createShell(context);
    const finished = await shell({
      env,
      stdio: ["inherit", "pipe", "inherit"],
    })`${psql} ${args}`;
    return { exit_code: finished.exitCode ?? 1, output: finished.stdout };
  },
  render: () => "",
  exitCode: ({ exit_code }) => exit_code,
});

/** An unquoted SQL identifier: nothing that could add another setting to PGOPTIONS. */
function roleName(given: string): string {
  if (/^[a-z_][a-z0-9_]{0,62}$/.test(given)) return given;
  throw new Unreadable(`"${given}" is no role's name`);
}

/** Stack, role and mode stand in the prompt: at night, where one types matters most. */
function prompt({ descriptor }: Stack, role: string, readOnly: boolean): string {
  return `${descriptor.stack}${readOnly ? " (read-only)" : ""} ${role}@%/%R%x%# `;
}

/**
 * The way in for a role, as libpq's environment: no secret is in it, and none on the command line.
 * A role without login is taken by the superuser, whose key only the user that ran `up` can read.
 *
 * @throws CtmError `no-permission`
 */
async function environmentFor(
  { descriptor, paths }: Stack,
  role: string,
  readOnly: boolean,
): Promise<NodeJS.ProcessEnv> {
  const { postgres, tls } = descriptor;
  const { host, port } = readOnly ? postgres.ro : postgres.rw;
  const byPassword = role === postgres.owner || (await hasPassword(paths, role));
  const login = role === postgres.owner ? postgres.migrator : byPassword ? role : "postgres";
  const passwords = credentialPath(paths, "pgpass");
  await checkReadable(byPassword ? passwords : postgres.provisioning.key, role);
  const options = [
    ...(readOnly ? ["-c default_transaction_read_only=on"] : []),
    ...(login === role ? [] : [`-c role=${role}`]),
  ];
  return {
    PGHOST: host,
    PGPORT: String(port),
    PGDATABASE: postgres.database,
    PGUSER: login,
    PGAPPNAME: "ctm psql",
    PGOPTIONS: options.join(" "),
    PGSSLMODE: "verify-full",
    PGSSLROOTCERT: tls.authority,
    ...(byPassword
      ? // A certificate in the person's home folder is none of ours: libpq looks there by itself.
        { PGPASSFILE: passwords, PGSSLCERT: join(paths.tls, "none") }
      : { PGSSLCERT: postgres.provisioning.certificate, PGSSLKEY: postgres.provisioning.key }),
  };
}

async function hasPassword(paths: StackPaths, role: string): Promise<boolean> {
  return role.startsWith("ctm_") && (await exists(join(paths.credentials, role)));
}

async function checkReadable(secret: string, role: string): Promise<void> {
  try {
    await access(secret, constants.R_OK);
  } catch (cause) {
    throw new CtmError("no-permission", `only who may read ${secret} can be ${role}`, {
      next: "run as the user that ran up (often root)",
      exitCode: 2,
      cause,
    });
  }
}
