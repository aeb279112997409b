// oxlint-disable vitest/no-standalone-expect -- the rows of this table run inside tests
import { appendFile, chmod, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { exists, waitFor } from "#system";
import { endProcesses, stackProcesses } from "../../runtime/local/processes.ts";
import {
  programConfiguration,
  programStates,
  removeProgram,
  runProgram,
  startSupervisord,
  stopProgram,
  supervisordConfiguration,
  supervisordPid,
  supervisorPaths,
  type SupervisorPaths,
} from "../../runtime/local/supervisor.ts";
import { freePort } from "../../runtime/testing/free-port.ts";
import { service } from "../types/service.ts";
import { supervisor } from "../types/supervisor.ts";
import { defineCase } from "./resource-case.ts";
import { giveToNobody, ownUser, temporaryFolder } from "./temporary.ts";

interface SupervisedScene {
  folder: string;
  paths: SupervisorPaths;
}

async function setUp(): Promise<SupervisedScene> {
  const folder = await temporaryFolder("sv");
  const paths = supervisorPaths({
    state: join(folder, "state"),
    run: join(folder, "run"),
    log: join(folder, "log"),
  });
  await mkdir(paths.programs, { recursive: true });
  await mkdir(join(folder, "log"));
  return { folder, paths };
}

async function tearDown({ folder, paths }: SupervisedScene): Promise<void> {
  await endProcesses(await stackProcesses(paths.stackDirectory), 20_000);
  await rm(folder, { recursive: true, force: true });
}

const runDirectories = ({ folder }: SupervisedScene) => [
  { path: join(folder, "run"), owner: ownUser, mode: "0755" },
  { path: join(folder, "run/members"), owner: ownUser, mode: "0700" },
];

/** The supervisord of a stack. */
export const supervisorCase = defineCase<SupervisedScene>({
  type: supervisor,
  setUp: async () => {
    const scene = await setUp();
    const program = programConfiguration({
      name: "sleeper",
      command: ["sleep", "600"],
      user: ownUser,
      environment: {},
      log: join(scene.folder, "log/sleeper.log"),
      stopWaitSeconds: 5,
      stopSignal: "TERM",
      priority: 1,
    });
    await writeFile(join(scene.paths.programs, "sleeper.conf"), program);
    return scene;
  },
  tearDown,
  inputs: (scene) => ({
    paths: scene.paths,
    directories: runDirectories(scene),
    configuration: supervisordConfiguration(scene.paths),
    state: "running",
  }),
  drift: [
    {
      how: "its configuration was edited",
      change: ({ paths }) => appendFile(paths.configuration, "; edited\n"),
      shows: ["configuration"],
    },
    {
      how: "its configuration was removed",
      change: ({ paths }) => rm(paths.configuration),
      shows: ["configuration"],
    },
    {
      how: "it was killed, and its programs were not",
      change: async ({ paths }) => {
        process.kill((await supervisordPid(paths)) ?? 0, "SIGKILL");
        await waitFor("supervisord to die", 10_000, async () =>
          (await supervisordPid(paths)) === undefined ? true : undefined,
        );
      },
      shows: ["state"],
      repaired: async ({ paths }) => {
        // supervisord and one sleeper: the orphan would hold ports against its successor.
        expect(await stackProcesses(paths.stackDirectory)).toHaveLength(2);
      },
    },
    {
      how: "everybody may enter a folder of sockets",
      change: ({ folder }) => chmod(join(folder, "run/members"), 0o755),
      shows: ["directories[1].mode"],
    },
    {
      how: "another user owns a folder of sockets",
      change: ({ folder }) => giveToNobody(join(folder, "run/members")),
      shows: ["directories[1].owner"],
      needsRoot: true,
    },
    {
      how: "a folder of sockets was removed",
      change: ({ folder }) => rm(join(folder, "run/members"), { recursive: true }),
      shows: ["directories[1].mode"],
    },
  ],
  identity: { paths: { configuration: "/elsewhere" } },
  instructions: {},
  silent: {},
  halfDone: [
    {
      left: "a supervisord that runs already",
      arrange: async (scene) => {
        const { paths } = scene;
        for (const one of [paths.programs, join(scene.folder, "log")]) {
          await mkdir(one, { recursive: true });
        }
        await writeFile(paths.configuration, supervisordConfiguration(paths));
        await startSupervisord(paths, runDirectories(scene));
      },
    },
  ],
  afterDelete: async ({ folder, paths }) => {
    expect(await stackProcesses(paths.stackDirectory)).toEqual([]);
    expect(await exists(join(paths.configuration, ".."))).toBe(false);
    expect(await exists(join(folder, "run"))).toBe(false);
  },
});

/** A stack's supervisord, with one service that answers with what it has read. */
export interface ServiceScene extends SupervisedScene {
  port: number;
  program: string;
}

/** Answers with its files as they were when it started or was last told to reload. */
const script = `
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
const [port, ...files] = process.argv.slice(2);
let text = "";
const load = () => { text = files.map((file) => readFileSync(file, "utf8")).join(""); };
load();
process.on("SIGHUP", load);
createServer((_, response) => response.end(text)).listen(Number(port), "127.0.0.1");
`;

const at = ({ folder }: SupervisedScene, name: string): string => join(folder, "files", name);
const log = ({ folder }: SupervisedScene): string => join(folder, "log/web.log");

/** What the service says that it runs with. */
export async function served({ port }: ServiceScene): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: "close" } });
  return await answer.text();
}

const textFile = (content: string, mode = "0640") => ({ content, mode, owner: ownUser });

const filesOf = (scene: ServiceScene) => ({
  files: {
    [at(scene, "one")]: textFile("one "),
    [at(scene, "two")]: textFile("two "),
    [at(scene, "three")]: textFile("three "),
  },
  secretFiles: { [at(scene, "secret")]: textFile("a-secret-of-the-service", "0600") },
});

/** A supervisord that runs, and a program for it. */
export async function serviceScene(): Promise<ServiceScene> {
  const scene = await setUp();
  await mkdir(join(scene.folder, "files"));
  await writeFile(at(scene, "web.mjs"), script);
  await writeFile(scene.paths.configuration, supervisordConfiguration(scene.paths));
  await startSupervisord(scene.paths, runDirectories(scene));
  const port = await freePort();
  const program = programConfiguration({
    name: "web",
    command: [
      process.execPath,
      at(scene, "web.mjs"),
      String(port),
      ...["one", "two", "three", "secret"].map((name) => at(scene, name)),
    ],
    user: ownUser,
    environment: {},
    log: log(scene),
    stopWaitSeconds: 5,
    stopSignal: "TERM",
    priority: 1,
  });
  // It runs when it answers: the second that supervisord would wait proves nothing more.
  return { ...scene, port, program: program.replace("startsecs=1", "startsecs=0") };
}

export const endServiceScene = tearDown;

export const serviceInputs = (scene: ServiceScene) => ({
  name: "web",
  supervisor: scene.paths,
  program: scene.program,
  log: log(scene),
  ...filesOf(scene),
  initialFiles: { [at(scene, "initial")]: textFile("read once") },
  restartWith: { certificate: "0a1b2c3d" },
  reloadSignal: "HUP",
  listens: [{ host: "127.0.0.1", port: scene.port }],
  readiness: { kind: "http", host: "127.0.0.1", port: scene.port, path: "/", authority: null },
  readyTimeoutSeconds: 20,
  state: "running",
});

/** What it runs. */
export const serviceCase = defineCase<ServiceScene>({
  type: service,
  setUp: serviceScene,
  tearDown: endServiceScene,
  inputs: serviceInputs,
  names: (scene) =>
    Object.fromEntries(["one", "two", "three", "secret"].map((name) => [name, at(scene, name)])),
  drift: [
    {
      how: "its files were edited, opened and removed",
      change: async (scene) => {
        await writeFile(at(scene, "one"), "edited ");
        await chmod(at(scene, "two"), 0o666);
        await rm(at(scene, "three"));
        await writeFile(at(scene, "secret"), "another-secret-of-the-service");
      },
      shows: [
        'files["{one}"].content',
        'files["{two}"].mode',
        'files["{three}"]',
        'secretFiles["{secret}"].content',
      ],
      repaired: async (scene) => {
        expect(await served(scene)).toBe("one two three a-secret-of-the-service");
      },
    },
    {
      how: "another user owns a file of its",
      change: (scene) => giveToNobody(at(scene, "one")),
      shows: ['files["{one}"].owner'],
      needsRoot: true,
    },
    {
      how: "its program was edited",
      change: ({ paths }) => appendFile(join(paths.programs, "web.conf"), "stopwaitsecs=600\n"),
      shows: ["program"],
    },
    {
      how: "it was stopped",
      change: ({ paths }) => stopProgram(paths, "web"),
      shows: ["state"],
      repaired: async (scene) => expect(await served(scene)).toContain("secret"),
    },
    {
      how: "its program was removed",
      change: async ({ paths }) => {
        await rm(join(paths.programs, "web.conf"));
        await removeProgram(paths, "web");
      },
      shows: ["program", "state"],
      repaired: async (scene) => expect(await served(scene)).toContain("secret"),
    },
  ],
  identity: { name: "another", supervisor: { configuration: "/elsewhere" } },
  instructions: {
    log: "/elsewhere/web.log",
    restartWith: { certificate: "another" },
    reloadSignal: "USR2",
    listens: [],
    readiness: { kind: "tcp", host: "127.0.0.1", port: 1 },
  },
  silent: { initialFiles: {}, readyTimeoutSeconds: 1 },
  halfDone: [
    {
      left: "a service that a killed run started with other files",
      arrange: async (scene) => {
        for (const [path, { content }] of Object.entries({
          ...filesOf(scene).files,
          ...filesOf(scene).secretFiles,
        })) {
          await writeFile(path, `older ${content}`);
        }
        await writeFile(join(scene.paths.programs, "web.conf"), scene.program);
        await runProgram(scene.paths, "web", log(scene), { restart: false });
        await waitFor("the older service", 20_000, async () =>
          (await served(scene)).startsWith("older") ? true : undefined,
        );
      },
      taken: async (scene) => {
        expect(await served(scene)).toBe("one two three a-secret-of-the-service");
      },
    },
  ],
  afterDelete: async (scene) => {
    expect(await readdir(join(scene.folder, "files"))).toEqual(["web.mjs"]);
    expect(await readdir(scene.paths.programs)).toEqual([]);
    expect(await exists(log(scene))).toBe(false);
    expect(await programStates(scene.paths)).toEqual(new Map());
    await expect(served(scene)).rejects.toThrow("fetch failed");
  },
});
