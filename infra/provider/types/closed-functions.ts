import { z } from "zod";
import { asSuperuser, asSuperuserIfExists, provisioningSchema } from "../../postgres/connection.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  database: z.string().min(1),
  /** Server functions by name, in every form: the arguments of some differ between versions. */
  functions: z.array(z.string().regex(/^(pg|lo)_[a-z_0-9]+$/)),
  /** The one role that goes on executing them. */
  role: z.string().min(1),
  provisioning: provisioningSchema,
});
export type ClosedFunctionsInputs = z.infer<typeof inputs>;

/** Server functions that everybody may execute as PostgreSQL comes, closed in one database. */
export const closedFunctions = defineResourceType<ClosedFunctionsInputs, ClosedFunctionsInputs>({
  token: "ctm:postgres:ClosedFunctions",
  inputs,
  secrets: [],
  replacedBy: ["database", "role"],
  ignoredInDiff: ["provisioning"],
  async create(wanted) {
    await close(wanted);
    return { id: wanted.database, outputs: wanted };
  },
  async read(_id, state) {
    const functions = await asSuperuserIfExists(
      state.provisioning,
      state.database,
      async (client) => {
        const { rows } = await client.query<{ name: string }>(
          `SELECT name FROM unnest($2::text[]) WITH ORDINALITY AS wanted(name, position)
         JOIN pg_proc ON proname = name AND pronamespace = 'pg_catalog'::regnamespace
         CROSS JOIN LATERAL (
           SELECT coalesce(bool_or(grantee = 0), false) AS everybody,
                  -- By its name: a role that is gone executes nothing.
                  coalesce(bool_or(grantee = (SELECT oid FROM pg_roles WHERE rolname = $1)), false) AS role
           FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))
           WHERE privilege_type = 'EXECUTE') AS granted
         GROUP BY name, position
         HAVING bool_and(granted.role AND NOT granted.everybody)
         ORDER BY position`,
          [state.role, state.functions],
        );
        return rows.map(({ name }) => name);
      },
    );
    return functions === undefined ? undefined : { ...state, functions };
  },
  async update(_id, state, wanted) {
    await close(wanted);
    await change(
      { ...wanted, functions: state.functions.filter((name) => !wanted.functions.includes(name)) },
      "GRANT EXECUTE ON FUNCTION %s TO PUBLIC",
    );
    return wanted;
  },
  async delete() {
    // Gone with the database.
  },
});

async function close(wanted: ClosedFunctionsInputs): Promise<void> {
  // In this order: a database that is in use goes on.
  await change(wanted, "GRANT EXECUTE ON FUNCTION %s TO %I");
  await change(wanted, "REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC");
}

/** Executes a statement for each form of the functions; it is given the form and the role. */
async function change(
  { provisioning, database, functions, role }: ClosedFunctionsInputs,
  statement: string,
): Promise<void> {
  await asSuperuser(provisioning, database, async (client) => {
    const { rows } = await client.query<{ text: string }>(
      `SELECT format($1, oid::regprocedure, $2::text) AS text FROM pg_proc
       WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($3)`,
      [statement, role, functions],
    );
    for (const { text } of rows) await client.query(text);
  });
}
