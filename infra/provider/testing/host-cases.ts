// oxlint-disable vitest/no-standalone-expect -- the rows of this table run inside tests
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { exists, isRoot, readFileIfExists } from "#system";
import type { Keep } from "#stack";
import { bundleApi } from "../../../api/index.ts";
import { portsFile } from "../../runtime/local/ports.ts";
import { bundle } from "../types/bundle.ts";
import { bootUnit } from "../types/boot-unit.ts";
import { directory } from "../types/directory.ts";
import { file, secretFile } from "../types/file.ts";
import { host } from "../types/host.ts";
import { ports } from "../types/ports.ts";
import { secret } from "../types/secret.ts";
import { fakeHost, type FakeHost } from "./fake-host.ts";
import { fakeSystemctl, type FakeSystemctl } from "./fake-systemctl.ts";
import { defineCase, type Drift, type RegisteredCase, type ResourceCase } from "./resource-case.ts";
import { giveToNobody, ownUser, temporaryFolder } from "./temporary.ts";

interface FolderScene {
  folder: string;
  /** The one thing that the resource makes in it. */
  path: string;
}

const inFolder = (path: string) => ({
  async setUp(): Promise<FolderScene> {
    const folder = await temporaryFolder("provider");
    return { folder, path: join(folder, path) };
  },
  async tearDown({ folder }: FolderScene): Promise<void> {
    await rm(folder, { recursive: true, force: true });
  },
});

function keepIn(folder: string, name: string): Keep {
  return { stateDirectory: join(folder, "state"), kept: join(folder, "kept"), stack: "x", name };
}

/** What `keep` kept: each removal in a folder of its own, for a resource was made in between. */
async function keptFiles(folder: string, name: string): Promise<string[]> {
  const kept: string[] = [];
  for (const removal of await readdir(join(folder, "kept"))) {
    const path = join(folder, "kept", removal, name);
    if (await exists(path)) kept.push(path);
  }
  return kept;
}

const content = "the first line\nthe second, with an ü\n";

const fileDrift: Drift<FolderScene>[] = [
  {
    how: "its content was edited",
    change: ({ path }) => writeFile(path, "edited\n"),
    shows: ["content"],
    repaired: async ({ path }) => expect(await readFile(path, "utf8")).toBe(content),
  },
  { how: "it was emptied", change: ({ path }) => writeFile(path, ""), shows: ["content"] },
  { how: "everybody may read it", change: ({ path }) => chmod(path, 0o644), shows: ["mode"] },
  {
    how: "another user owns it",
    change: ({ path }) => giveToNobody(path),
    shows: ["owner"],
    needsRoot: true,
  },
  {
    how: "all of it was changed",
    change: async ({ path }) => {
      await writeFile(path, "edited\n");
      await chmod(path, 0o600);
    },
    shows: ["content", "mode"],
  },
  { how: "it was removed", change: ({ path }) => rm(path), shows: "gone" },
  {
    how: "its folder was removed",
    change: ({ path }) => rm(join(path, ".."), { recursive: true }),
    shows: "gone",
  },
];

function fileCase(type: typeof file): ResourceCase<FolderScene> {
  return {
    type,
    ...inFolder("inner/file.conf"),
    inputs: ({ path, folder }) => ({
      path,
      content,
      mode: "0640",
      owner: ownUser,
      keep: keepIn(folder, "kept.conf"),
    }),
    drift: fileDrift,
    identity: { path: "/elsewhere/file.conf" },
    instructions: {},
    silent: { keep: null },
    halfDone: [
      {
        left: "a file that a killed run wrote with other content",
        arrange: async (_scene, { path }) => writeFile(String(path), "of an older run\n"),
      },
    ],
    afterDelete: async ({ folder, path }) => {
      expect(await readdir(join(path, ".."))).toEqual([]);
      const kept = await keptFiles(folder, "kept.conf");
      expect(kept).toHaveLength(2);
      for (const one of kept) expect(await readFile(one, "utf8")).toBe(content);
    },
  };
}

const directoryCase = defineCase<FolderScene>({
  type: directory,
  ...inFolder("members/data"),
  inputs: ({ path, folder }) => ({
    path,
    owner: ownUser,
    mode: "0700",
    holdsDataOf: "x",
    keep: keepIn(folder, "data"),
  }),
  drift: [
    { how: "everybody may enter it", change: ({ path }) => chmod(path, 0o755), shows: ["mode"] },
    {
      how: "another user owns it",
      change: ({ path }) => giveToNobody(path),
      shows: ["owner"],
      needsRoot: true,
    },
    {
      how: "the mark of its stack was removed",
      change: ({ path }) => rm(`${path}.ctm`),
      shows: ["holdsDataOf"],
    },
    { how: "it was removed", change: ({ path }) => rm(path, { recursive: true }), shows: "gone" },
  ],
  identity: { path: "/elsewhere/data" },
  instructions: {},
  silent: { keep: null },
  halfDone: [
    {
      left: "a marked folder with data in it",
      arrange: async ({ path }) => {
        await mkdir(path, { recursive: true });
        await writeFile(`${path}.ctm`, "x\n");
        await writeFile(join(path, "PG_VERSION"), "15\n");
      },
      taken: async ({ path }) => {
        expect(await readFile(join(path, "PG_VERSION"), "utf8")).toBe("15\n");
      },
    },
    {
      left: "a mark without its folder",
      arrange: async ({ path }) => {
        await mkdir(join(path, ".."), { recursive: true });
        await writeFile(`${path}.ctm`, "x\n");
      },
    },
  ],
  afterDelete: async ({ folder, path }) => {
    expect(await exists(join(path, ".."))).toBe(false);
    expect(await keptFiles(folder, "data")).toHaveLength(3);
  },
});

const secretCase = defineCase<FolderScene>({
  type: secret,
  ...inFolder("credentials/ctm_api"),
  inputs: ({ path, folder }) => ({
    path,
    owner: ownUser,
    prefix: "ctm:",
    generation: 1,
    keep: keepIn(folder, "ctm_api"),
    opens: { of: "repository" as const, folder: join(folder, "repository") },
    file: "intact",
  }),
  drift: [
    {
      how: "its file was edited",
      change: ({ path }) => writeFile(path, "changed by hand\n"),
      shows: ["file"],
      repaired: async ({ path }) => {
        expect(await readFile(path, "utf8")).toMatch(/^ctm:[\w-]{43}\n$/);
      },
    },
    { how: "everybody may read it", change: ({ path }) => chmod(path, 0o644), shows: ["file"] },
    {
      how: "another user owns it",
      change: ({ path }) => giveToNobody(path),
      shows: ["file"],
      needsRoot: true,
    },
    { how: "its file was removed", change: ({ path }) => rm(path), shows: ["file"] },
  ],
  identity: { path: "/elsewhere/secret", prefix: "other:", generation: 2 },
  instructions: { owner: "nobody" },
  silent: { keep: null, opens: null },
  halfDone: [
    {
      left: "a secret that a killed run wrote, to which something may be set already",
      arrange: ({ path }) => writeFile(path, `ctm:${"of-a-killed-run".repeat(3)}\n`),
      taken: async ({ path }) => {
        expect(await readFile(path, "utf8")).toBe(`ctm:${"of-a-killed-run".repeat(3)}\n`);
      },
    },
    {
      left: "a file that holds no secret of ours",
      arrange: ({ path }) => writeFile(path, "short\n"),
      taken: async ({ path }) => {
        expect(await readFile(path, "utf8")).toMatch(/^ctm:[\w-]{43}\n$/);
      },
    },
  ],
  afterDelete: async ({ folder, path }) => {
    expect(await exists(path)).toBe(false);
    expect(await keptFiles(folder, "ctm_api")).toHaveLength(3);
  },
});

const portsCase = defineCase<FolderScene>({
  type: ports,
  ...inFolder("stack"),
  inputs: ({ path }) => ({
    directory: path,
    requests: {
      rw: { preferred: 21_432, demandedBy: null },
      rest: { preferred: 21_433, demandedBy: null },
    },
  }),
  drift: [
    {
      how: "its file names another port",
      change: async ({ path }) => {
        const remembers = join(path, portsFile);
        const remembered = JSON.parse(await readFile(remembers, "utf8")) as Record<string, number>;
        await writeFile(remembers, JSON.stringify({ ...remembered, rest: 21_999 }));
      },
      shows: ["requests.rest"],
    },
    {
      how: "its file was removed",
      change: ({ path }) => rm(join(path, portsFile)),
      shows: ["requests.rw", "requests.rest"],
    },
    {
      how: "its file was cut short",
      change: ({ path }) => writeFile(join(path, portsFile), '{"rw": 214'),
      shows: ["requests.rw", "requests.rest"],
    },
  ],
  identity: { directory: "/elsewhere" },
  instructions: {},
  silent: {},
  halfDone: [
    {
      left: "ports that a killed run chose",
      arrange: ({ path }) => writeFile(join(path, portsFile), '{"rw":21777,"rest":21778}'),
      taken: async ({ path }) => {
        expect(JSON.parse(await readFile(join(path, portsFile), "utf8"))).toEqual({
          rw: 21_777,
          rest: 21_778,
        });
      },
    },
  ],
  afterDelete: async ({ path }) => expect(await readdir(path)).toEqual([]),
});

const hostCase = defineCase<FakeHost>({
  type: host,
  setUp: fakeHost,
  tearDown: (scene) => scene.end(),
  inputs: () => ({
    packages: ["alpha", "beta", "gamma"],
    serviceUser: isRoot() ? "ctm-test-service" : ownUser,
  }),
  drift: [
    {
      how: "a package was removed",
      change: (scene) => scene.remove("gamma"),
      shows: ["packages[2]"],
      needsRoot: true,
    },
    {
      how: "its user was removed",
      change: (scene) => scene.removeUser("ctm-test-service"),
      shows: ["serviceUser"],
      needsRoot: true,
    },
  ],
  identity: {},
  instructions: {},
  silent: {},
  halfDone: [
    {
      left: "some of the packages",
      arrange: async (scene) => {
        if (!isRoot()) return;
        await scene.remove("beta");
        await scene.removeUser("ctm-test-service");
      },
    },
  ],
  afterDelete: async (scene) => {
    expect(await scene.installed()).toEqual(["alpha", "beta", "gamma"]);
  },
});

const bundleCase = defineCase<FolderScene & { sha256: string }>({
  type: bundle,
  ...inFolder("api/main.mjs"),
  setUp: async () => ({
    ...(await inFolder("api/main.mjs").setUp()),
    sha256: (await bundleApi()).sha256,
  }),
  inputs: ({ path, sha256 }) => ({ program: "api", path, sha256 }),
  drift: [
    {
      how: "the program was edited",
      change: ({ path }) => writeFile(path, "process.exit(0);\n"),
      shows: ["sha256"],
      repaired: async ({ path }) => expect((await stat(path)).mode & 0o777).toBe(0o644),
    },
    { how: "it was removed", change: ({ path }) => rm(path), shows: "gone" },
  ],
  identity: { program: "copier", path: "/elsewhere/main.mjs" },
  instructions: {},
  silent: {},
  halfDone: [
    {
      left: "a program that a killed run wrote",
      arrange: ({ path }) => writeFile(path, "process.exit(0);\n"),
    },
  ],
  afterDelete: async ({ path }) => expect(await readFileIfExists(path)).toBeUndefined(),
});

const bootUnitCase = defineCase<FolderScene & { systemctl: FakeSystemctl }>({
  type: bootUnit,
  setUp: async () => ({
    ...(await inFolder("ctm-x.service").setUp()),
    systemctl: await fakeSystemctl(),
  }),
  tearDown: async ({ folder, systemctl }) => {
    await systemctl.end();
    await rm(folder, { recursive: true, force: true });
  },
  inputs: ({ path }) => ({ path, content: "[Unit]\nDescription=x\n", enabled: true }),
  drift: [
    {
      how: "it was edited",
      change: ({ path }) => writeFile(path, "[Unit]\nDescription=y\n"),
      shows: ["content"],
    },
    {
      how: "it was disabled",
      change: ({ systemctl }) => systemctl.disable("ctm-x.service"),
      shows: ["enabled"],
    },
    { how: "it was removed", change: ({ path }) => rm(path), shows: "gone" },
  ],
  identity: { path: "/elsewhere/ctm-x.service" },
  instructions: {},
  silent: {},
  halfDone: [
    {
      left: "a unit that a killed run wrote and did not enable",
      arrange: ({ path }) => writeFile(path, "[Unit]\n"),
    },
  ],
  afterDelete: async ({ path, systemctl }) => {
    expect(await exists(path)).toBe(false);
    expect(await systemctl.enabled()).toEqual([]);
  },
});

/** What is made on the machine itself. */
export const hostCases: readonly RegisteredCase[] = [
  defineCase(fileCase(file)),
  defineCase(fileCase(secretFile)),
  directoryCase,
  secretCase,
  portsCase,
  hostCase,
  bundleCase,
  bootUnitCase,
];
