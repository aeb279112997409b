import { join } from "node:path";
import { DatabaseError } from "pg";
import { dataMark, parseDescriptor, readOwn } from "#stack";
import { CtmError, exists, readDirectoryIfExists } from "#system";
import { asSuperuser, provisioningOf } from "../postgres/connection.ts";

/** Where a stack's database is, and how to reach it. */
export interface DatabaseOfStack {
  /** Folder with a folder for each member, PGDATA being `data` in it. */
  members: string;
  /** The stack's descriptor.json. */
  descriptor: string;
}

const runbook = "docs/runbooks/lost-settings-key.md";

/**
 * Why no other key of encrypted settings may be made: what is encrypted could not be read any more, and
 * nobody would notice. A database that cannot be asked may hold some. Undefined where there is none.
 *
 * @param credential the file that the key is lost from
 */
export async function settingsKeyLost(
  database: DatabaseOfStack,
  credential: string,
): Promise<CtmError | undefined> {
  const lost = `their key is neither in ${credential} nor in Pulumi's state; another one does not open them, so none was made`;
  if (!(await hasData(database.members))) return undefined;
  try {
    const names = await encryptedSettings(database.descriptor);
    if (names.length === 0) return undefined;
    return new CtmError(
      "settings-key-lost",
      `the database holds encrypted settings (${shortList(names)}), and ${lost}`,
      { next: `${runbook}: it is in the escrow`, exitCode: 2 },
    );
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return new CtmError(
      "settings-key-lost",
      `the database in ${database.members} may hold encrypted settings (it cannot be asked: ${reason}), and ${lost}`,
      { next: `npx ctm start, then again; where that does not help, ${runbook}`, exitCode: 2 },
    );
  }
}

function shortList(names: readonly string[]): string {
  const more = names.length - 3;
  return [...names.slice(0, 3), ...(more > 0 ? [`${more} more`] : [])].join(", ");
}

/**
 * Whether a member has a database of ours: PG_VERSION is what initdb writes first and restores write
 * too. Somebody else's is refused where the folder is claimed.
 */
async function hasData(members: string): Promise<boolean> {
  const names = await readDirectoryIfExists(members);
  const found = names.map(async (name) => {
    const data = join(members, name, "data");
    return (await exists(dataMark(data))) && (await exists(join(data, "PG_VERSION")));
  });
  return (await Promise.all(found)).includes(true);
}

/** SQLSTATEs of a database or a table that the stack does not have yet. */
const notThereYet = new Set(["3D000", "42P01"]);

async function encryptedSettings(path: string): Promise<string[]> {
  const text = await readOwn(path);
  if (text === undefined) throw new Error(`${path} does not exist`);
  const descriptor = parseDescriptor(text, path);
  try {
    return await asSuperuser(
      provisioningOf(descriptor),
      descriptor.postgres.database,
      async (client) => {
        const { rows } = await client.query<{ setting_key: string }>(
          "SELECT setting_key FROM public.configuration_settings WHERE is_encrypted ORDER BY 1",
        );
        return rows.map(({ setting_key: name }) => name);
      },
    );
  } catch (error) {
    if (error instanceof DatabaseError && notThereYet.has(error.code ?? "")) return [];
    throw error;
  }
}
