import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { CtmError, exists, makeDirectory, readFileIfExists, writeFileAtomic } from "#system";
import { accepts, listenerOn } from "../../runtime/local/ports.ts";
import { waitUntilReady } from "../../runtime/local/readiness.ts";
import { stackProcesses } from "../../runtime/local/processes.ts";
import {
  programStates,
  removeProgram,
  runProgram,
  signalProgram,
  type ProgramState,
} from "../../runtime/local/supervisor.ts";
import { defineResourceType, differences } from "../resource-type.ts";
import { fileContent, readContent, writeContent } from "./file.ts";
import { supervisorPathsSchema } from "./supervisor.ts";

const port = z.int().min(1).max(65535);
const address = z.strictObject({ host: z.string(), port });
const inputs = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9-]*$/),
  supervisor: supervisorPathsSchema,
  /** The program's file for supervisord. */
  program: z.string(),
  log: z.string().startsWith("/"),
  /** Configuration files by path. */
  files: z.record(z.string().startsWith("/"), fileContent),
  /** As `files`, with secrets in them. */
  secretFiles: z.record(z.string().startsWith("/"), fileContent),
  /** Written where missing, never compared: what is read once, when the service first starts. */
  initialFiles: z.record(z.string().startsWith("/"), fileContent),
  /** Anything else, such as a certificate's fingerprint, whose change restarts the service. */
  restartWith: z.record(z.string(), z.string()),
  /** Signal that makes the service read changed files; null when it has to restart. */
  reloadSignal: z.enum(["HUP", "USR2"]).nullable(),
  listens: z.array(address),
  readiness: z.discriminatedUnion("kind", [
    address.extend({ kind: z.literal("tcp") }),
    z.strictObject({ kind: z.literal("heartbeat"), path: z.string().startsWith("/") }),
    address.extend({ kind: z.literal("http"), path: z.string(), authority: z.string().nullable() }),
  ]),
  readyTimeoutSeconds: z.int().min(1),
  state: z.string(),
});
export type ServiceInputs = z.infer<typeof inputs>;

/** One supervised process of the stack, with the files that it reads. */
export const service = defineResourceType<ServiceInputs, ServiceInputs>({
  token: "ctm:local:Service",
  inputs,
  secrets: ["secretFiles"],
  replacedBy: ["name", "supervisor"],
  ignoredInDiff: ["initialFiles", "readyTimeoutSeconds"],
  async create(wanted) {
    await refuseForeignListeners(wanted);
    const restart = await runsWithOtherFiles(wanted);
    await writeFiles(wanted);
    await start(wanted, { restart });
    return { id: wanted.name, outputs: wanted };
  },
  async read(_id, state) {
    const states = await programStates(state.supervisor);
    return {
      ...state,
      program: (await readFileIfExists(programFile(state))) ?? "",
      files: await readFiles(state.files),
      secretFiles: await readFiles(state.secretFiles),
      state: (await exists(unfinishedMark(state)))
        ? "change unfinished"
        : stateName(states?.get(state.name)),
    };
  },
  async update(_id, state, wanted) {
    for (const path of [...Object.keys(state.files), ...Object.keys(state.secretFiles)]) {
      if (!(path in wanted.files) && !(path in wanted.secretFiles)) await rm(path, { force: true });
    }
    // Killed from here on, the service would run with files that only look as if it had read them.
    await writeFileAtomic(unfinishedMark(wanted), "", { mode: 0o644 });
    await writeFiles(wanted);
    const reload =
      wanted.reloadSignal !== null &&
      state.state === wanted.state &&
      state.program === wanted.program &&
      JSON.stringify(state.restartWith) === JSON.stringify(wanted.restartWith);
    if (reload) {
      await signalProgram(wanted.supervisor, wanted.name, wanted.reloadSignal ?? "");
      await ready(wanted);
    } else {
      await start(wanted, { restart: true });
    }
    await rm(unfinishedMark(wanted), { force: true });
    return wanted;
  },
  async delete(_id, state) {
    await rm(programFile(state), { force: true });
    await rm(unfinishedMark(state), { force: true });
    await removeProgram(state.supervisor, state.name);
    for (const files of [state.files, state.secretFiles, state.initialFiles]) {
      for (const path of Object.keys(files)) await rm(path, { force: true });
    }
    await rm(state.log, { force: true });
  },
});

function programFile(target: ServiceInputs): string {
  return join(target.supervisor.programs, `${target.name}.conf`);
}

/** Exists while a running service is being changed. supervisord includes `*.conf` only. */
function unfinishedMark(target: ServiceInputs): string {
  return join(target.supervisor.programs, `${target.name}.unfinished`);
}

function stateName(state: ProgramState | undefined): string {
  return state === "RUNNING" || state === "STARTING"
    ? "running"
    : (state ?? "absent").toLowerCase();
}

async function writeFiles(wanted: ServiceInputs): Promise<void> {
  for (const [path, content] of Object.entries({ ...wanted.files, ...wanted.secretFiles })) {
    await writeContent(path, content);
  }
  for (const [path, content] of Object.entries(wanted.initialFiles)) {
    if ((await readFileIfExists(path)) === undefined) await writeContent(path, content);
  }
  await makeDirectory(wanted.supervisor.programs, { mode: 0o755 });
  await writeFileAtomic(programFile(wanted), wanted.program, { mode: 0o644 });
}

/** Whether a killed run may have started the service with other files than it shall have. */
async function runsWithOtherFiles(wanted: ServiceInputs): Promise<boolean> {
  const program = await readFileIfExists(programFile(wanted));
  if (program === undefined) return false;
  const { files, secretFiles } = wanted;
  const found = {
    program,
    files: await readFiles(files),
    secretFiles: await readFiles(secretFiles),
  };
  return differences(found, { program: wanted.program, files, secretFiles }).length > 0;
}

async function readFiles(expected: ServiceInputs["files"]): Promise<ServiceInputs["files"]> {
  const found: ServiceInputs["files"] = {};
  for (const [path, { owner }] of Object.entries(expected)) {
    const content = await readContent(path, owner);
    if (content !== undefined) found[path] = content;
  }
  return found;
}

async function start(wanted: ServiceInputs, options: { restart: boolean }): Promise<void> {
  await runProgram(wanted.supervisor, wanted.name, wanted.log, options);
  await ready(wanted);
}

async function ready(wanted: ServiceInputs): Promise<void> {
  await waitUntilReady(wanted.name, wanted.readiness, wanted.readyTimeoutSeconds * 1000);
}

async function refuseForeignListeners(wanted: ServiceInputs): Promise<void> {
  if ((await stackProcesses(wanted.supervisor.stackDirectory)).length > 1) {
    // A killed run may have started this very service: supervisord tells below.
    const states = await programStates(wanted.supervisor);
    if (states?.has(wanted.name) === true) return;
  }
  for (const { host, port: number } of wanted.listens) {
    if (!(await accepts(host, number))) continue;
    throw new CtmError(
      "port-taken",
      `${wanted.name} cannot listen on ${host}:${number}: ${(await listenerOn(number)) ?? "another process"} does`,
      { next: "end that process, or give this stack another port in its configuration" },
    );
  }
}
