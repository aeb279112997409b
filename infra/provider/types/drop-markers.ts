import { z } from "zod";
import type { Client } from "pg";
import { asSuperuser, asSuperuserIfExists, provisioningSchema } from "../../postgres/connection.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  database: z.string().min(1),
  /** `every drop`: each table that is dropped leaves its name in WAL. */
  marks: z.string(),
  provisioning: provisioningSchema,
});
export type DropMarkersInputs = z.infer<typeof inputs>;

/** Of provisioning, not of the migrations: a superuser owns it, as an event trigger demands. */
const schema = "ctm_recovery";
const eventTrigger = "ctm_mark_drops";

/**
 * WAL knows tables by the numbers of their files. The message belongs to the transaction, and names
 * it: a subtransaction has a number of its own, and only the whole one commits.
 */
const body = `
DECLARE
  dropped record;
BEGIN
  FOR dropped IN
    SELECT schema_name, object_name FROM pg_event_trigger_dropped_objects()
    WHERE object_type = 'table' AND NOT is_temporary
  LOOP
    PERFORM pg_logical_emit_message(true, 'ctm', json_build_object(
      'event', 'drop', 'schema', dropped.schema_name, 'table', dropped.object_name,
      'xid', pg_current_xact_id()::text, 'role', session_user,
      'application', current_setting('application_name'))::text);
  END LOOP;
END
`;

/** What leaves the names of dropped tables in WAL, for `ctm restore --before-drop`. */
export const dropMarkers = defineResourceType<DropMarkersInputs, DropMarkersInputs>({
  token: "ctm:postgres:DropMarkers",
  inputs,
  secrets: [],
  replacedBy: ["database"],
  ignoredInDiff: ["provisioning"],
  async create(wanted) {
    await install(wanted);
    return { id: wanted.database, outputs: wanted };
  },
  async read(_id, state) {
    const marks = await asSuperuserIfExists(state.provisioning, state.database, marksIn);
    return marks === undefined ? undefined : { ...state, marks };
  },
  async update(_id, _state, wanted) {
    await install(wanted);
    return wanted;
  },
  async delete() {
    // Gone with the database.
  },
});

async function marksIn(client: Client): Promise<string> {
  const { rows } = await client.query<{ whole: boolean }>(
    `SELECT e.evtenabled = 'A' AND e.evtevent = 'sql_drop' AND e.evttags IS NULL
            AND p.prosrc = $3 AND p.prosecdef AND n.nspname = $2 AND owner.rolsuper
            AND p.proconfig = '{"search_path=pg_catalog, pg_temp"}' AS whole
     FROM pg_event_trigger e
     JOIN pg_proc p ON p.oid = e.evtfoid
     JOIN pg_namespace n ON n.oid = p.pronamespace
     JOIN pg_roles owner ON owner.oid = p.proowner
     WHERE e.evtname = $1`,
    [eventTrigger, schema, body],
  );
  const [row] = rows;
  if (row === undefined) return "nothing";
  return row.whole ? "every drop" : "something else";
}

async function install({ provisioning, database }: DropMarkersInputs): Promise<void> {
  await asSuperuser(provisioning, database, async (client) => {
    await client.query(`
      BEGIN;
      CREATE SCHEMA IF NOT EXISTS ${schema};
      DROP EVENT TRIGGER IF EXISTS ${eventTrigger};
      CREATE OR REPLACE FUNCTION ${schema}.mark_drops() RETURNS event_trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS ${client.escapeLiteral(body)};
      ALTER FUNCTION ${schema}.mark_drops() OWNER TO CURRENT_USER;
      CREATE EVENT TRIGGER ${eventTrigger} ON sql_drop EXECUTE FUNCTION ${schema}.mark_drops();
      -- Also for sessions that switch other triggers off.
      ALTER EVENT TRIGGER ${eventTrigger} ENABLE ALWAYS;
      COMMIT`);
  });
}
