import { z } from "zod";
import { messageOf } from "#system";
import type { CloudflareClient } from "../cloudflare/cloudflare-client.ts";
import { findExisting } from "../cloudflare/find-existing.ts";
import { asSuperuser, type Provisioning } from "../postgres/connection.ts";
import type { Workspace } from "./environment.ts";
import { pulumi } from "./pulumi.ts";

const resourceSchema = z.looseObject({
  urn: z.string(),
  type: z.string(),
  id: z.string().optional(),
  inputs: z.record(z.string(), z.unknown()).optional(),
});
const exportSchema = z.looseObject({
  deployment: z
    .looseObject({
      resources: z.array(resourceSchema).nullish(),
      pending_operations: z
        .array(z.object({ resource: resourceSchema, type: z.string() }))
        .nullish(),
    })
    .nullish(),
});
type Resource = z.infer<typeof resourceSchema>;

/** What a killed run left behind, and what became of it. */
export interface Recovery {
  /** Operations that a killed run had begun. */
  pending: { urn: string; operation: string }[];
  /** URNs of resources that exist although no state says so: taken into the state. */
  adopted: string[];
}

/** Where to look for what a killed run made; undefined: nothing of a stack is there. */
export interface Places {
  provisioning: Provisioning | undefined;
  cloudflare: CloudflareClient | undefined;
}

/**
 * Clears what killed runs left pending. A `ctm` resource finishes its own half-made work, and
 * updates and deletions are read anew by the refresh; but the PostgreSQL provider cannot take over
 * a role, database or extension that exists, and Cloudflare's would make a second one, so such a
 * one is looked up by its name and put into the state.
 */
export async function recoverPendingOperations(
  workspace: Workspace,
  places: Places,
  report: (line: string) => void,
): Promise<Recovery> {
  const text = await pulumi(workspace, ["stack", "export"]);
  const state = exportSchema.parse(JSON.parse(text));
  const operations = state.deployment?.pending_operations ?? [];
  if (state.deployment === null || state.deployment === undefined || operations.length === 0) {
    return { pending: [], adopted: [] };
  }
  report(`a killed run left ${operations.length} operations pending; looking at what they did`);
  const resources = state.deployment.resources ?? [];
  const known = new Set(resources.map(({ urn }) => urn));
  const adopted: Resource[] = [];
  for (const { resource, type } of operations) {
    if (type !== "creating" || known.has(resource.urn)) continue;
    const id = await existingId(resource, places);
    if (id !== undefined) adopted.push({ ...resource, id, outputs: { ...resource.inputs, id } });
  }
  const mended = {
    ...state,
    deployment: {
      ...state.deployment,
      resources: [...resources, ...adopted],
      pending_operations: [],
    },
  };
  await pulumi(workspace, ["stack", "import"], { input: JSON.stringify(mended) });
  return {
    pending: operations.map(({ resource, type }) => ({ urn: resource.urn, operation: type })),
    adopted: adopted.map(({ urn }) => urn),
  };
}

/** The id under which its provider knows a resource that really exists. */
async function existingId(
  resource: Resource,
  { provisioning, cloudflare }: Places,
): Promise<string | undefined> {
  if (resource.type.startsWith("cloudflare:")) {
    const { type, inputs = {} } = resource;
    return cloudflare && (await findExisting({ type, inputs }, cloudflare));
  }
  const name = resource.inputs?.["name"];
  if (provisioning === undefined || typeof name !== "string") return undefined;
  switch (resource.type) {
    case "postgresql:index/role:Role":
      return (await existsIn(provisioning, "postgres", "pg_roles", "rolname", name))
        ? name
        : undefined;
    case "postgresql:index/database:Database":
      return (await existsIn(provisioning, "postgres", "pg_database", "datname", name))
        ? name
        : undefined;
    case "postgresql:index/extension:Extension": {
      const database = resource.inputs?.["database"];
      if (typeof database !== "string") return undefined;
      return (await existsIn(provisioning, database, "pg_extension", "extname", name))
        ? `${database}.${name}`
        : undefined;
    }
    default:
      return undefined;
  }
}

async function existsIn(
  provisioning: Provisioning,
  database: string,
  catalog: "pg_roles" | "pg_database" | "pg_extension",
  column: "rolname" | "datname" | "extname",
  name: string,
): Promise<boolean> {
  try {
    return await asSuperuser(provisioning, database, async (client) => {
      const { rowCount } = await client.query(
        `SELECT FROM pg_catalog.${catalog} WHERE ${column} = $1`,
        [name],
      );
      return rowCount === 1;
    });
  } catch (error) {
    // No such database: then nothing is in it.
    if (messageOf(error).includes(`database "${database}" does not exist`)) return false;
    throw error;
  }
}
