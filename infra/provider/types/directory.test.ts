import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { exists } from "#system";
import { ProviderClient } from "../testing/provider-client.ts";
import { ownUser, temporaryFolder } from "../testing/temporary.ts";
import { directory } from "./directory.ts";

/*
 * The folder that holds data is the one thing that may never be taken for another: what is not
 * ours is neither adopted nor removed.
 */

const token = directory.token;
let client: ProviderClient;
let folder: string;
let path: string;

const inputs = () => ({ path, owner: ownUser, mode: "0700", holdsDataOf: "mine", keep: null });

beforeEach(async () => {
  client = await ProviderClient.serving([directory]);
  folder = await temporaryFolder("directory");
  path = join(folder, "members/data");
});

afterEach(async () => {
  client.close();
  await rm(folder, { recursive: true, force: true });
});

async function data(file: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await writeFile(join(path, file), "precious\n");
}

it.each([
  ["PG_VERSION", "a PostgreSQL data directory"],
  ["holiday.jpg", "data"],
])("leaves a folder with %s alone", async (file, what) => {
  await data(file);
  await expect(client.create(token, inputs())).rejects.toThrow(
    `foreign-data: ${path} holds ${what} of something that ctm did not make; it is left untouched
next: move ${path} away, or choose another place with CTM_HOME`,
  );
  expect(await readdir(join(folder, "members"))).toEqual(["data"]);
  expect(await readFile(join(path, file), "utf8")).toBe("precious\n");
});

it("leaves another stack's folder alone, even an empty one", async () => {
  await mkdir(path, { recursive: true });
  await writeFile(`${path}.ctm`, "theirs\n");
  await expect(client.create(token, inputs())).rejects.toThrow(
    `foreign-data: ${path} holds data of the stack "theirs"; it is left untouched`,
  );
});

it("takes an empty folder", async () => {
  await mkdir(path, { recursive: true });
  await client.create(token, inputs());
  expect(await readFile(`${path}.ctm`, "utf8")).toBe("mine\n");
});

it("never replaces data that lost its mark: it stays until a person has looked", async () => {
  const { id, state } = await client.create(token, inputs());
  await data("PG_VERSION");
  await rm(`${path}.ctm`);
  const found = await client.read(token, id, state, inputs());
  const diff = await client.diff(token, id, found?.state ?? {}, inputs());
  expect(diff).toMatchObject({ paths: { holdsDataOf: "add" }, replaces: [] });
  await expect(client.update(token, id, state, inputs())).rejects.toThrow(
    /^2 UNKNOWN: foreign-data/,
  );
  expect(await exists(join(path, "PG_VERSION"))).toBe(true);
});

it("leaves no mark behind when its folder is gone", async () => {
  const { id, state } = await client.create(token, inputs());
  await rm(path, { recursive: true });
  await client.delete(token, id, state);
  expect(await readdir(folder)).toEqual([]);
});
