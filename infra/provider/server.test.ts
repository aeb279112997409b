import * as grpc from "@grpc/grpc-js";
import engineGrpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import engine from "@pulumi/pulumi/proto/engine_pb.js";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { CtmError } from "#system";
import {
  defineResourceType,
  differences,
  unknownValue,
  type AnyResourceType,
  type Properties,
} from "./resource-type.ts";
import { unwrap, wrapSecrets } from "./secrets.ts";
import { tokenOf } from "./server.ts";
import { ProviderClient } from "./testing/provider-client.ts";
import { resourceTypes } from "./types/index.ts";
import { ports } from "./types/ports.ts";

const shelfInputs = z.strictObject({
  name: z.string().regex(/^[a-z]+$/),
  size: z.int().min(1),
  password: z.string().min(8),
  books: z.record(z.string(), z.strictObject({ pages: z.int() })),
  kind: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("open") }),
    z.strictObject({ kind: z.literal("locked"), key: z.string() }),
  ]),
});
type ShelfInputs = z.infer<typeof shelfInputs>;

/** What was done to shelves, and what goes wrong with the next one. */
const done: string[] = [];
let failure: Error | undefined;

const shelf = defineResourceType<
  ShelfInputs,
  ShelfInputs & { serial: string; note?: string | undefined }
>({
  token: "test:wood:Shelf",
  inputs: shelfInputs,
  secrets: ["password"],
  replacedBy: ["name"],
  async create(inputs, { report }) {
    done.push("create");
    report("sawing");
    if (failure !== undefined) throw failure;
    return { id: inputs.name, outputs: { ...inputs, serial: "7", note: undefined } };
  },
  async read(_id, state) {
    done.push("read");
    return state;
  },
  async update(_id, state, inputs) {
    done.push("update");
    return { ...state, ...inputs };
  },
  async delete() {
    done.push("delete");
  },
});

const inputs: ShelfInputs = {
  name: "oak",
  size: 2,
  password: "not for everybody",
  books: { "a book": { pages: 100 } },
  kind: { kind: "open" },
};
const wrapped = wrapSecrets(inputs, ["password"]);
const token = shelf.token;

/** The engine's log, to which progress goes. */
const logged: { message: string; urn: string; severity: number }[] = [];
let engineServer: grpc.Server;
let client: ProviderClient;

beforeAll(async () => {
  engineServer = new grpc.Server();
  const log: grpc.handleUnaryCall<InstanceType<typeof engine.LogRequest>, unknown> = (
    call,
    callback,
  ) => {
    logged.push({
      message: call.request.getMessage(),
      urn: call.request.getUrn(),
      severity: call.request.getSeverity(),
    });
    callback(null, new engine.LogRequest());
  };
  engineServer.addService(
    { log: { ...engineGrpc.EngineService.log, responseSerialize: () => Buffer.alloc(0) } },
    { log },
  );
  const port = await new Promise<number>((resolve, reject) => {
    engineServer.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, found) =>
      error === null ? resolve(found) : reject(error),
    );
  });
  client = await ProviderClient.serving([shelf], `127.0.0.1:${port}`);
});

afterAll(() => {
  client.close();
  engineServer.forceShutdown();
});

describe("check", () => {
  it("finds nothing wrong with good inputs, secrets wrapped", async () => {
    expect(await client.check(token, wrapped)).toEqual([]);
  });

  it("names every bad property at once", async () => {
    const bad = {
      ...wrapped,
      name: "Oak!",
      size: 0,
      password: wrapSecrets({ password: "short" }, ["password"])["password"],
      books: { "a book": { pages: "many", colour: "red" }, other: {} },
      kind: { kind: "locked" },
      colour: "brown",
    };
    const failures = await client.check(token, bad);
    expect(failures.map(({ property }) => property).toSorted()).toEqual([
      "books.other.pages",
      'books["a book"].colour',
      'books["a book"].pages',
      "colour",
      "kind.key",
      "name",
      "password",
      "size",
    ]);
    expect(failures.find(({ property }) => property === "colour")?.reason).toBe(
      "test:wood:Shelf has no input of this name",
    );
    // What is wrong with a secret is told, the secret is not.
    expect(JSON.stringify(failures)).not.toContain("short");
  });

  it("names what is missing", async () => {
    const failures = await client.check(token, {});
    expect(failures.map(({ property }) => property)).toEqual([
      "name",
      "size",
      "password",
      "books",
      "kind",
    ]);
  });

  it("waits for what a preview cannot know, and still names the rest", async () => {
    const unknown = {
      ...wrapped,
      size: unknownValue,
      books: { "a book": unknownValue },
      kind: unknownValue,
      name: 5,
      colour: "brown",
    };
    const failures = await client.check(token, unknown);
    expect(failures.map(({ property }) => property).toSorted()).toEqual(["colour", "name"]);
  });

  it.each(resourceTypes)("of $token accepts unknown values for everything", async (type) => {
    const own = await ProviderClient.serving([type]);
    const names = Object.keys(type.inputs instanceof z.ZodObject ? type.inputs.shape : {});
    const unknown = Object.fromEntries(names.map((name) => [name, unknownValue]));
    expect(await own.check(type.token, unknown)).toEqual([]);
    own.close();
  });
});

describe("a preview", () => {
  it("of creating answers the inputs, and touches nothing", async () => {
    done.length = 0;
    const preview = await client.create(token, wrapped, { preview: true });
    expect(preview).toEqual({ id: "", state: wrapped });
    expect(done).toEqual([]);
  });

  it("passes on what is unknown, and keeps secrets wrapped", async () => {
    const unknown = wrapSecrets({ ...inputs, size: unknownValue, password: unknownValue }, [
      "password",
    ]);
    expect((await client.create(token, unknown, { preview: true })).state).toEqual(unknown);
  });

  it("of updating answers what will be, and touches nothing", async () => {
    done.length = 0;
    const state = { ...wrapped, serial: "7" };
    const wanted = { ...wrapped, size: 3 };
    const preview = await client.update(token, "oak", state, wanted, { preview: true });
    expect(preview).toEqual({ ...state, size: 3 });
    expect(done).toEqual([]);
  });

  it("names a value that it cannot know as a change", async () => {
    const state = { ...wrapped, serial: "7" };
    const found = await client.diff(token, "oak", state, { ...wrapped, size: unknownValue });
    expect(found).toMatchObject({ changes: true, paths: { size: "update" } });
  });

  it.each(resourceTypes)("of $token calls nothing of it", async (type) => {
    const called: string[] = [];
    const refuse = (name: string) => (): never => {
      called.push(name);
      throw new Error(`${name} was called`);
    };
    const untouchable: AnyResourceType = {
      ...type,
      create: refuse("create"),
      update: refuse("update"),
      read: refuse("read"),
      delete: refuse("delete"),
    };
    Reflect.deleteProperty(untouchable, "foresee");
    const own = await ProviderClient.serving([untouchable]);
    const state: Properties = { some: "state" };
    expect(await own.create(type.token, state, { preview: true })).toEqual({ id: "", state });
    expect(await own.update(type.token, "x", state, state, { preview: true })).toEqual(state);
    expect(called).toEqual([]);
    own.close();
  });
});

it("foresees a new port in a preview, and takes it only then", async () => {
  const directory = await mkdtemp(join(tmpdir(), "ctm-ports-"));
  const own = await ProviderClient.serving([ports]);
  const request = (preferred: number) => ({ preferred, demandedBy: null });
  const before = { directory, requests: { one: request(21_801) } };
  const { state } = await own.create(ports.token, before);
  const wanted = { directory, requests: { ...before.requests, two: request(21_802) } };
  const foreseen = await own.update(ports.token, "ports", state, wanted, { preview: true });
  expect(foreseen["ports"]).toMatchObject({ one: expect.any(Number), two: expect.any(Number) });
  expect(JSON.parse(await readFile(join(directory, "ports.json"), "utf8"))).toEqual(state["ports"]);
  const updated = await own.update(ports.token, "ports", state, wanted);
  expect(updated["ports"]).toEqual(foreseen["ports"]);
  own.close();
  await rm(directory, { recursive: true });
});

describe("a secret", () => {
  it("goes in and comes out wrapped, whatever is done", async () => {
    const { state } = await client.create(token, wrapped);
    expect(state).toEqual({ ...wrapped, serial: "7" });
    const updated = await client.update(token, "oak", state, { ...wrapped, size: 3 });
    expect(updated).toEqual({ ...wrapped, size: 3, serial: "7" });
    const found = await client.read(token, "oak", state, wrapped);
    expect(found).toEqual({ state, inputs: wrapped });
  });

  it("stays one in a field that has none by itself", async () => {
    const books = { "a book": wrapSecrets({ pages: 100 }, ["pages"]) };
    const { state } = await client.create(token, { ...wrapped, books });
    expect(state).toEqual(wrapSecrets({ ...inputs, serial: "7" }, ["password", "books"]));
    const updated = await client.update(token, "oak", wrapped, { ...wrapped, books });
    expect(updated["books"]).toEqual(state["books"]);
    const found = await client.read(token, "oak", state, { ...wrapped, books });
    expect(found?.state).toEqual(state);
    expect(found?.inputs["books"]).toEqual(state["books"]);
    const preview = await client.create(token, { ...wrapped, books }, { preview: true });
    expect(preview.state["books"]).toEqual(state["books"]);
  });

  it("is compared by its value, and never named with it", async () => {
    const state = { ...wrapped, serial: "7" };
    expect(await client.diff(token, "oak", state, wrapped)).toMatchObject({ changes: false });
    // The engine may hand over a value in clear that was a secret before, and the other way.
    expect(await client.diff(token, "oak", { ...inputs }, wrapped)).toMatchObject({
      changes: false,
    });
    const other = wrapSecrets({ ...inputs, password: "another secret" }, ["password"]);
    const found = await client.diff(token, "oak", state, other);
    expect(found.paths).toEqual({ password: "update" });
    expect(JSON.stringify(found)).not.toContain("secret");
  });
});

describe("a failure", () => {
  it("of a person's making is told in its own words", async () => {
    failure = new CtmError("no-wood", "there is no oak left", { next: "plant some" });
    await expect(client.create(token, wrapped)).rejects.toMatchObject({
      details: "no-wood: there is no oak left\nnext: plant some",
    });
  });

  it("of our making comes with its stack trace", async () => {
    failure = new Error("the saw broke");
    await expect(client.create(token, wrapped)).rejects.toMatchObject({
      details: expect.stringMatching(/^Error: the saw broke\n\s+at .*server\.test\.ts/),
    });
    failure = undefined;
  });

  it("of an unknown type names it", async () => {
    await expect(client.create("test:wood:Table", wrapped)).rejects.toThrow(
      "the ctm provider has no resource type test:wood:Table",
    );
  });
});

it("tells the engine what goes on, with the resource that it is about", async () => {
  logged.length = 0;
  await client.create(token, wrapped);
  await expect.poll(() => logged).toHaveLength(1);
  expect(logged).toMatchObject([{ message: "sawing", severity: engine.LogSeverity.INFO }]);
  expect(tokenOf(logged[0]?.urn ?? "")).toBe(token);
});

describe("differences", () => {
  it.each<[found: unknown, wanted: unknown, expected: [path: string, kind: string][]]>([
    [{ a: 1 }, { a: 1 }, []],
    [{ a: 1 }, { a: 2 }, [["a", "update"]]],
    [{ a: null }, {}, []],
    [{}, { a: [] }, [["a", "add"]]],
    [{ a: [1, 2] }, { a: [1] }, [["a[1]", "delete"]]],
    [{ a: [{ b: 1 }] }, { a: [{ b: 2 }] }, [["a[0].b", "update"]]],
    [{ a: { b: 1 } }, { a: 1 }, [["a", "update"]]],
    [{ a: [1] }, { a: { b: 1 } }, [["a", "update"]]],
    [{ "/a b": { c: 1 } }, { "/a b": { c: 2 } }, [['["/a b"].c', "update"]]],
    [{ 'a"b': 1 }, { 'a"b': 2 }, [['["a\\"b"]', "update"]]],
    [{ a: "1" }, { a: 1 }, [["a", "update"]]],
    [{ a: false }, {}, [["a", "delete"]]],
  ])("between %j and %j", (found, wanted, expected) => {
    const differing = differences(found, wanted).map(({ path, kind }) => [path, kind]);
    expect(differing).toEqual(expected);
  });
});

it("unwraps secrets and outputs at any depth, and nothing else", () => {
  const signature = "4dabf18193072939515e22adb298388d";
  const secret = { [signature]: "1b47061264138c4ac30d75fd1eb44270", value: "s" };
  const output = { [signature]: "d0e6a833031e9bbcd3f4e8bde6ca49a4", value: { deep: secret } };
  const asset = { [signature]: "c44067f5952c0a294b673a41bacd8c17", text: "t" };
  expect(unwrap({ list: [secret, output], asset, nothing: null, number: 0 })).toEqual({
    list: ["s", { deep: "s" }],
    asset,
    nothing: null,
    number: 0,
  });
});
