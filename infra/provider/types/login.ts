import { Client, DatabaseError } from "pg";
import { z } from "zod";
import { CtmError } from "#system";
import {
  asSuperuser,
  loginSettings,
  provisioningSchema,
  using,
} from "../../postgres/connection.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  role: z.string().min(1),
  /** Where a login is tried. */
  database: z.string().min(1),
  password: z.string(),
  /** What repairs set: PostgreSQL's stored form of `password`. */
  verifier: z.string(),
  provisioning: provisioningSchema,
  /** For a role that no other resource describes: whether it may replicate. Null otherwise. */
  replication: z.boolean().nullable(),
  login: z.string(),
});
export type LoginInputs = z.infer<typeof inputs>;

/**
 * SQLSTATEs that say no to the role itself: wrong password, no such role or NOLOGIN, no CONNECT,
 * no such database, its connection limit reached.
 */
const refusals = new Set(["28P01", "28000", "42501", "3D000", "53300"]);

/**
 * Proof that a role can log in with its password: the only way to see a password that was
 * changed by hand, since the server never tells one.
 */
export const login = defineResourceType<LoginInputs, LoginInputs>({
  token: "ctm:postgres:Login",
  inputs,
  secrets: ["password", "verifier"],
  replacedBy: ["role"],
  ignoredInDiff: ["provisioning", "database", "verifier"],
  async create(wanted) {
    await repairUnlessProven(wanted);
    return { id: wanted.role, outputs: wanted };
  },
  async read(_id, state) {
    return {
      ...state,
      login: await tryLogin(state),
      replication: state.replication === null ? null : await mayReplicate(state),
    };
  },
  async update(_id, _state, wanted) {
    await repairUnlessProven(wanted);
    return wanted;
  },
  async delete() {
    // The role is somebody else's.
  },
});

async function repairUnlessProven(wanted: LoginInputs): Promise<void> {
  const proven =
    (await tryLogin(wanted)) === "works" &&
    (wanted.replication === null || (await mayReplicate(wanted)) === wanted.replication);
  if (proven) return;
  await asSuperuser(wanted.provisioning, "postgres", async (client) => {
    const attributes =
      wanted.replication === null ? "" : wanted.replication ? " REPLICATION" : " NOREPLICATION";
    // ALTER ROLE takes no parameters; the verifier says nothing that helps to log in.
    await client.query(
      `ALTER ROLE ${client.escapeIdentifier(wanted.role)} LOGIN${attributes} PASSWORD ${client.escapeLiteral(wanted.verifier)}`,
    );
  });
  const found = await tryLogin(wanted);
  if (found !== "works") {
    throw new CtmError(
      "login-refused",
      `${wanted.role} cannot log in to ${wanted.database}, although its password was just set: ${found}`,
      { next: "look at pg_hba.conf and at the role's attributes" },
    );
  }
}

async function tryLogin(target: LoginInputs): Promise<string> {
  const settings = await loginSettings(target.provisioning, {
    user: target.role,
    password: target.password,
    database: target.database,
  });
  try {
    await using(new Client({ ...settings, application_name: "ctm login proof" }), (client) =>
      client.query("SELECT 1"),
    );
    return "works";
  } catch (error) {
    if (error instanceof DatabaseError && error.code !== undefined) {
      if (refusals.has(error.code)) return `refused: ${error.message}`;
    }
    throw error;
  }
}

async function mayReplicate(target: LoginInputs): Promise<boolean> {
  return await asSuperuser(target.provisioning, "postgres", async (client) => {
    const { rows } = await client.query<{ rolreplication: boolean }>(
      "SELECT rolreplication FROM pg_roles WHERE rolname = $1",
      [target.role],
    );
    return rows[0]?.rolreplication ?? false;
  });
}
