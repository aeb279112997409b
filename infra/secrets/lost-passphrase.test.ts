import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { exists } from "#system";
import type { Properties } from "../provider/resource-type.ts";
import { ProviderClient } from "../provider/testing/provider-client.ts";
import { ownUser } from "../provider/testing/temporary.ts";
import { secret } from "../provider/types/secret.ts";
import { lossOf } from "./lock.ts";

let folder: string;
let repository: string;
let credential: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-passphrase-"));
  repository = join(folder, "repository");
  credential = join(folder, "repository-cipher");
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function fillRepository(): Promise<void> {
  await mkdir(join(repository, "archive"), { recursive: true });
}

async function isLost(): Promise<boolean> {
  return (
    (await lossOf({ of: "repository", folder: repository }, credential))?.code === "passphrase-lost"
  );
}

const passphrase = "p".repeat(43);

describe("a passphrase", () => {
  it("is not lost where there is no repository, or an empty one", async () => {
    expect(await isLost()).toBe(false);
    await mkdir(repository);
    expect(await isLost()).toBe(false);
  });

  it("is not lost where its file is", async () => {
    await fillRepository();
    await writeFile(credential, `${passphrase}\n`);
    expect(await isLost()).toBe(false);
  });

  it.each([
    ["is gone", undefined],
    ["is empty", ""],
    ["was cut off", "p".repeat(20)],
  ])("is lost where its file %s", async (_, content) => {
    await fillRepository();
    if (content !== undefined) await writeFile(credential, content);
    expect(await isLost()).toBe(true);
  });
});

describe("the resource", () => {
  let client: ProviderClient;
  let inputs: Properties;
  const { token } = secret;

  beforeEach(async () => {
    client = await ProviderClient.serving([secret]);
    inputs = {
      path: credential,
      owner: ownUser,
      prefix: "",
      generation: 1,
      keep: null,
      opens: { of: "repository", folder: repository },
      file: "intact",
    };
  });

  afterEach(() => {
    client.close();
  });

  it("is refused when it is planned, and when it is made, and nothing is written", async () => {
    await fillRepository();
    const [failure, ...more] = await client.check(token, inputs);
    expect(more).toEqual([]);
    expect(failure).toEqual({
      property: "path",
      reason: `passphrase-lost: ${repository} holds backups, and their passphrase is neither in ${credential} nor in Pulumi's state; another one does not open them, so none was made\nnext: docs/runbooks/lost-passphrase.md: it is in the escrow, and in each member's pgbackrest.conf`,
    });
    await expect(client.create(token, inputs)).rejects.toThrow("passphrase-lost");
    expect(await exists(credential)).toBe(false);
  });

  it("is written anew from the state, which still has it", async () => {
    const { id, state } = await client.create(token, inputs);
    await fillRepository();
    await rm(credential);
    expect(await client.check(token, inputs, state)).toEqual([]);
    await client.update(token, id, state, inputs);
    expect(await isLost()).toBe(false);
  });
});
