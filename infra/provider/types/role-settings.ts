import { z } from "zod";
import { asSuperuser, provisioningSchema } from "../../postgres/connection.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  role: z.string().min(1),
  /** Server settings of every session of the role, by name. */
  settings: z.record(z.string().regex(/^[a-z_]+$/), z.string()),
  provisioning: provisioningSchema,
});
export type RoleSettingsInputs = z.infer<typeof inputs>;

/** Settings that `@pulumi/postgresql`'s Role describes itself; a row has one owner only. */
export const settingsOfRoleResource: readonly string[] = [
  "search_path",
  "statement_timeout",
  "idle_in_transaction_session_timeout",
  "role",
];

/** Server settings of a role (ALTER ROLE … SET) beyond those that its Role resource knows. */
export const roleSettings = defineResourceType<RoleSettingsInputs, RoleSettingsInputs>({
  token: "ctm:postgres:RoleSettings",
  inputs,
  secrets: [],
  replacedBy: ["role"],
  ignoredInDiff: ["provisioning"],
  async create(wanted) {
    await apply(wanted);
    return { id: wanted.role, outputs: wanted };
  },
  async read(_id, state) {
    return { ...state, settings: await settingsOf(state) };
  },
  async update(_id, _state, wanted) {
    await apply(wanted);
    return wanted;
  },
  async delete() {
    // Gone with the role.
  },
});

async function settingsOf(target: RoleSettingsInputs): Promise<Record<string, string>> {
  return await asSuperuser(target.provisioning, "postgres", async (client) => {
    const { rows } = await client.query<{ setting: string }>(
      "SELECT unnest(rolconfig) AS setting FROM pg_roles WHERE rolname = $1",
      [target.role],
    );
    const pairs = rows.map(({ setting }): [string, string] => {
      const separator = setting.indexOf("=");
      return [setting.slice(0, separator), setting.slice(separator + 1)];
    });
    return Object.fromEntries(pairs.filter(([name]) => !settingsOfRoleResource.includes(name)));
  });
}

async function apply(wanted: RoleSettingsInputs): Promise<void> {
  const found = await settingsOf(wanted);
  await asSuperuser(wanted.provisioning, "postgres", async (client) => {
    const role = client.escapeIdentifier(wanted.role);
    for (const name of Object.keys(found)) {
      if (name in wanted.settings) continue;
      await client.query(`ALTER ROLE ${role} RESET ${client.escapeIdentifier(name)}`);
    }
    for (const [name, value] of Object.entries(wanted.settings)) {
      if (found[name] === value) continue;
      await client.query(
        `ALTER ROLE ${role} SET ${client.escapeIdentifier(name)} = ${client.escapeLiteral(value)}`,
      );
    }
  });
}
