import { waitFor } from "#system";
import type { Context } from "../command.ts";
import { connected, stackConnection } from "../facts/connection.ts";
import { readRepository } from "../facts/repository.ts";
import type { Stack } from "../open-stack.ts";
import { configurationOf, type RepositoryDescriptor } from "./archive.ts";

/** The archiver takes a segment at once; a copy in another region comes after it. */
const archiveMs = 5 * 60_000;
const infoMs = 60_000;

/**
 * Ends the leader's current segment and waits until a repository holds it: everything that is
 * committed by now can then be recovered from there.
 *
 * @throws CtmError `deadline-passed`, and what the connection throws
 */
export async function archiveNow(
  stack: Stack,
  repository: RepositoryDescriptor,
  context: Pick<Context, "env" | "signal" | "progress">,
): Promise<void> {
  context.progress.step(`waiting until ${repository.name} holds the newest WAL`);
  const config = await stackConnection(stack, "ctm_backup");
  const segment = await connected({ ...config, database: "postgres" }, async (client) => {
    const { rows } = await client.query<{ name: string }>(
      "SELECT pg_walfile_name(pg_switch_wal() - 1) AS name",
    );
    return rows[0]?.name ?? "";
  });
  const configuration = configurationOf(stack.descriptor, repository);
  await waitFor(`${segment} in the repository ${repository.name}`, archiveMs, async () => {
    context.signal.throwIfAborted();
    const { repositories } = await readRepository(stack.descriptor, context, infoMs, configuration);
    return (repositories[0]?.newestWal ?? "") >= segment ? true : undefined;
  });
}
