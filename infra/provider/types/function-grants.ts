import { z } from "zod";
import { asSuperuser, asSuperuserIfExists, provisioningSchema } from "../../postgres/connection.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  role: z.string().min(1),
  /** Signatures of server functions, such as `pg_backup_stop(boolean)`. */
  functions: z.array(z.string().regex(/^[a-z_0-9]+\([a-z_0-9, ]*\)$/)),
  databases: z.array(z.string()).min(1),
  provisioning: provisioningSchema,
});
export type FunctionGrantsInputs = z.infer<typeof inputs>;

/**
 * Server functions that only superusers may call, granted to one role in each named database
 * (privileges on them are kept per database).
 */
export const functionGrants = defineResourceType<FunctionGrantsInputs, FunctionGrantsInputs>({
  token: "ctm:postgres:FunctionGrants",
  inputs,
  secrets: [],
  replacedBy: ["role"],
  ignoredInDiff: ["provisioning"],
  async create(wanted) {
    await grant(wanted);
    return { id: wanted.role, outputs: wanted };
  },
  async read(_id, state) {
    let granted = state.functions;
    for (const database of state.databases) {
      const wanted = granted;
      const found = await asSuperuserIfExists(state.provisioning, database, async (client) => {
        const { rows } = await client.query<{ signature: string }>(
          `SELECT signature FROM unnest($2::text[]) WITH ORDINALITY AS wanted(signature, position)
           -- A role that is gone holds nothing; asking for it by its name would be an error.
           JOIN pg_roles ON rolname = $1
           WHERE has_function_privilege(pg_roles.oid, ('pg_catalog.' || signature)::regprocedure, 'EXECUTE')
           ORDER BY position`,
          [state.role, wanted],
        );
        return rows.map(({ signature }) => signature);
      });
      granted = found ?? [];
    }
    return { ...state, functions: granted };
  },
  async update(_id, state, wanted) {
    const dropped = state.functions.filter((signature) => !wanted.functions.includes(signature));
    await change(wanted, dropped, "REVOKE EXECUTE ON FUNCTION", "FROM");
    await grant(wanted);
    return wanted;
  },
  async delete() {
    // Gone with the role.
  },
});

async function grant(wanted: FunctionGrantsInputs): Promise<void> {
  await change(wanted, wanted.functions, "GRANT EXECUTE ON FUNCTION", "TO");
}

async function change(
  wanted: FunctionGrantsInputs,
  functions: readonly string[],
  verb: string,
  preposition: string,
): Promise<void> {
  if (functions.length === 0) return;
  for (const database of wanted.databases) {
    await asSuperuser(wanted.provisioning, database, async (client) => {
      const role = client.escapeIdentifier(wanted.role);
      for (const signature of functions) {
        // The signature cannot be quoted; its schema of characters is checked by the inputs.
        await client.query(`${verb} pg_catalog.${signature} ${preposition} ${role}`);
      }
    });
  }
}
