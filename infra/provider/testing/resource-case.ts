import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { isRoot } from "#system";
import type { AnyResourceType, Properties } from "../resource-type.ts";
import { unwrap, wrapSecrets } from "../secrets.ts";
import { ProviderClient, type FoundDiff } from "./provider-client.ts";

/** One way in which the world can change behind a resource's back. */
export interface Drift<Scene> {
  /** Completes the sentence "sees that …". */
  how: string;
  change: (scene: Scene) => Promise<void>;
  /** The property paths that the preview then names, `{name}` standing for one of the case's names. */
  shows: readonly string[] | "gone";
  /** Checked after the repair, beyond what the resource itself says. */
  repaired?: (scene: Scene) => Promise<void>;
  /** Needs another OS user. */
  needsRoot?: true;
}

/** A resource type with everything that can happen to a resource of it. */
export interface ResourceCase<Scene> {
  type: AnyResourceType;
  /** Makes what the resource stands on. */
  setUp(): Promise<Scene>;
  tearDown?(scene: Scene): Promise<void>;
  inputs(scene: Scene): Properties;
  /** Parts of paths that are known only when the scene is set, such as a temporary file's. */
  names?(scene: Scene): Record<string, string>;
  drift: readonly Drift<Scene>[];
  /** Inputs that name the resource: another value makes another resource. */
  identity: Properties;
  /** Inputs that say how to make it, which leave no trace to read: another value is an update. */
  instructions: Properties;
  /** Inputs that say how to reach or keep it: another value alone is no change. */
  silent: Properties;
  /** What a run leaves that is killed between two steps of creating. */
  halfDone?: readonly {
    left: string;
    arrange: (scene: Scene, inputs: Properties) => Promise<void>;
    taken?: (scene: Scene) => Promise<void>;
  }[];
  /** Checked after deleting twice. */
  afterDelete(scene: Scene, inputs: Properties): Promise<void>;
}

/** A case whose scene only it knows, so that cases of all types fit one table. */
export interface RegisteredCase {
  type: AnyResourceType;
  /** Input properties that have a row. */
  covered: ReadonlySet<string>;
  /** Registers the tests. */
  describe(): void;
}

export function defineCase<Scene>(definition: ResourceCase<Scene>): RegisteredCase {
  const { type, drift, identity, instructions, silent } = definition;
  const shown = drift.flatMap(({ shows }) => (shows === "gone" ? [] : shows.map(propertyOf)));
  const named = [identity, instructions, silent].flatMap((one) => Object.keys(one));
  return {
    type,
    covered: new Set([...shown, ...named]),
    describe: () => {
      // oxlint-disable-next-line vitest/valid-title -- it is a string, as its type says
      describe(type.token, () => {
        tests(definition);
      });
    },
  };
}

/** Names of the inputs that a type knows. */
export function inputNames(type: AnyResourceType): string[] {
  if (type.inputs instanceof z.ZodObject) return Object.keys(type.inputs.shape);
  throw new Error(`the inputs of ${type.token} are no object`);
}

function tests<Scene>(definition: ResourceCase<Scene>): void {
  const { type } = definition;
  const { token } = type;
  let client: ProviderClient;
  let scene: Scene;
  let inputs: Properties;
  let id = "";
  let state: Properties = {};

  const create = async (): Promise<void> => {
    ({ id, state } = await client.create(token, inputs));
  };
  const refresh = async (): Promise<"there" | "gone"> => {
    const found = await client.read(token, id, state, inputs);
    if (found === undefined) return "gone";
    state = found.state;
    return "there";
  };
  const diff = async (wanted: Properties = inputs): Promise<FoundDiff> =>
    await client.diff(token, id, state, wanted);
  const look = async (): Promise<FoundDiff | "gone"> =>
    (await refresh()) === "gone" ? "gone" : await diff();
  const repair = async (found: FoundDiff | "gone"): Promise<void> => {
    if (found === "gone") {
      await create();
    } else if (found.replaces.length > 0) {
      await client.delete(token, id, state);
      await create();
    } else {
      // What a preview answers is a promise only.
      await client.update(token, id, state, inputs, { preview: true });
      expect(await look()).toEqual(found);
      state = await client.update(token, id, state, inputs);
    }
  };
  const expectNoChange = async (): Promise<void> => {
    expect(await refresh()).toBe("there");
    expect(await diff()).toMatchObject({ changes: false, paths: {} });
  };

  beforeAll(async () => {
    client = await ProviderClient.serving([type]);
    scene = await definition.setUp();
    inputs = wrapSecrets(definition.inputs(scene), type.secrets);
  });
  afterAll(async () => {
    await definition.tearDown?.(scene);
    client.close();
  });

  it("is created as asked, and reads back so", async () => {
    expect(await client.check(token, inputs)).toEqual([]);
    await create();
    await expectNoChange();
    const found = await client.read(token, id, state, inputs);
    expect(found?.inputs).toEqual(inputs);
  });

  it("shows its secrets, if it has any, to nobody", () => {
    const secrets = type.secrets.flatMap((name) => texts(unwrap(state[name]))).filter(isLong);
    expect(secrets.length > 0).toBe(type.secrets.length > 0);
    const open = Object.entries(state).filter(([name]) => !type.secrets.includes(name));
    for (const secret of secrets) expect(JSON.stringify(open)).not.toContain(secret);
    expect(state).toEqual(wrapSecrets(unwrap(state) as Properties, type.secrets));
  });

  for (const { how, change, shows, repaired, needsRoot } of definition.drift) {
    it.runIf(needsRoot === undefined || isRoot())(`sees that ${how}, and repairs it`, async () => {
      await change(scene);
      const seen = await look();
      const names = definition.names?.(scene) ?? {};
      const expected = shows === "gone" ? [shows] : shows.map((path) => filled(path, names));
      expect(pathsOf(seen)).toEqual(expected.toSorted());
      await repair(seen);
      await expectNoChange();
      await repaired?.(scene);
    });
  }

  it.each(Object.entries(definition.identity))(
    "is another one with another %s",
    async (key, value) => {
      const found = await diff({ ...inputs, [key]: value });
      expect(found.replaces).toEqual([key]);
      expect(found.deleteBeforeReplace).toBe(true);
      expect(new Set(Object.keys(found.paths).map(propertyOf))).toEqual(new Set([key]));
      expect(found.replacing.toSorted()).toEqual(Object.keys(found.paths).toSorted());
    },
  );

  it.each(Object.entries(definition.instructions))(
    "is updated with another %s",
    async (key, value) => {
      const found = await diff({ ...inputs, [key]: value });
      expect(found.replaces).toEqual([]);
      expect(new Set(Object.keys(found.paths).map(propertyOf))).toEqual(new Set([key]));
    },
  );

  it.each(Object.entries(definition.silent))("is the same with another %s", async (key, value) => {
    expect(await diff({ ...inputs, [key]: value })).toMatchObject({ changes: false, paths: {} });
  });

  it("compares every property as its type says", () => {
    expect(Object.keys(definition.silent).toSorted()).toEqual(
      [...(type.ignoredInDiff ?? [])].toSorted(),
    );
    for (const key of Object.keys(definition.identity)) expect(type.replacedBy).toContain(key);
  });

  for (const { left, arrange, taken } of definition.halfDone ?? []) {
    it(`takes over ${left}`, async () => {
      await client.delete(token, id, state);
      await arrange(scene, unwrap(inputs) as Properties);
      await create();
      await expectNoChange();
      await taken?.(scene);
    });
  }

  it("is deleted, and deleting it again succeeds", async () => {
    await client.delete(token, id, state);
    await client.delete(token, id, state);
    await definition.afterDelete(scene, unwrap(inputs) as Properties);
  });
}

function pathsOf(found: FoundDiff | "gone"): string[] {
  return found === "gone" ? [found] : Object.keys(found.paths).toSorted();
}

function filled(path: string, names: Record<string, string>): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => names[name] ?? `no ${name}`);
}

/** The property that a path begins with. */
function propertyOf(path: string): string {
  return path.split(/[.[]/, 1)[0] ?? path;
}

function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(texts) : [];
}

/** Short texts, such as a mode, stand anywhere. */
function isLong(text: string): boolean {
  return text.length > 8;
}
