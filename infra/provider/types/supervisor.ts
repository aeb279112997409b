import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { makeDirectory, readFileIfExists, writeFileAtomic } from "#system";
import { endProcesses, stackProcesses } from "../../runtime/local/processes.ts";
import {
  startSupervisord,
  stopSupervisord,
  supervisordPid,
} from "../../runtime/local/supervisor.ts";
import { accessOf } from "../access.ts";
import { defineResourceType } from "../resource-type.ts";

const path = z.string().startsWith("/");
export const supervisorPathsSchema = z.strictObject({
  configuration: path,
  programs: path,
  socket: path,
  pidFile: path,
  log: path,
  stackDirectory: path,
});

const inputs = z.strictObject({
  paths: supervisorPathsSchema,
  directories: z.array(z.strictObject({ path, owner: z.string(), mode: z.string() })),
  configuration: z.string(),
  state: z.string(),
});
export type SupervisorInputs = z.infer<typeof inputs>;

/** The supervisord of one stack: its configuration and the running daemon. */
export const supervisor = defineResourceType<SupervisorInputs, SupervisorInputs>({
  token: "ctm:local:Supervisor",
  inputs,
  secrets: [],
  replacedBy: ["paths"],
  async create(wanted) {
    await start(wanted);
    return { id: wanted.paths.configuration, outputs: wanted };
  },
  async read(_id, state) {
    return {
      ...state,
      directories: await Promise.all(
        state.directories.map(async ({ path: directory, owner }) => ({
          path: directory,
          ...((await accessOf(directory, owner)) ?? { owner, mode: "missing" }),
        })),
      ),
      configuration: (await readFileIfExists(state.paths.configuration)) ?? "",
      state: (await supervisordPid(state.paths)) === undefined ? "stopped" : "running",
    };
  },
  async update(_id, state, wanted) {
    // A changed configuration is read at start only.
    if (state.configuration !== wanted.configuration) await stopSupervisord(state.paths);
    await start(wanted);
    return wanted;
  },
  async delete(_id, state) {
    await stopSupervisord(state.paths);
    await endProcesses(await stackProcesses(state.paths.stackDirectory), 30_000);
    await rm(dirname(state.paths.configuration), { recursive: true, force: true });
    for (const { path: directory } of state.directories) {
      await rm(directory, { recursive: true, force: true });
    }
  },
});

async function start(wanted: SupervisorInputs): Promise<void> {
  await makeDirectory(wanted.paths.programs, { mode: 0o755 });
  await makeDirectory(dirname(wanted.paths.log), { mode: 0o755 });
  await writeFileAtomic(wanted.paths.configuration, wanted.configuration, { mode: 0o644 });
  if ((await supervisordPid(wanted.paths)) === undefined) {
    // What a killed one left running would hold ports. PostgreSQL stays: Patroni takes it over.
    const { stackDirectory } = wanted.paths;
    await endProcesses(await stackProcesses(stackDirectory, { postgres: false }), 20_000);
  }
  await startSupervisord(wanted.paths, wanted.directories);
}
