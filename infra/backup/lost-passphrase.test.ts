import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { exists } from "#system";
import type { Properties } from "../provider/resource-type.ts";
import { ProviderClient } from "../provider/testing/provider-client.ts";
import { ownUser } from "../provider/testing/temporary.ts";
import { secret } from "../provider/types/secret.ts";
import { isPassphraseLost, type Lock } from "./lost-passphrase.ts";

let folder: string;
let lock: Lock;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-passphrase-"));
  lock = { repository: join(folder, "repository"), credential: join(folder, "repository-cipher") };
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function fillRepository(): Promise<void> {
  await mkdir(join(lock.repository, "archive"), { recursive: true });
}

const passphrase = "p".repeat(43);

describe("a passphrase", () => {
  it("is not lost where there is no repository, or an empty one", async () => {
    expect(await isPassphraseLost(lock)).toBe(false);
    await mkdir(lock.repository);
    expect(await isPassphraseLost(lock)).toBe(false);
  });

  it("is not lost where its file is", async () => {
    await fillRepository();
    await writeFile(lock.credential, `${passphrase}\n`);
    expect(await isPassphraseLost(lock)).toBe(false);
  });

  it.each([
    ["is gone", undefined],
    ["is empty", ""],
    ["was cut off", "p".repeat(20)],
  ])("is lost where its file %s", async (_, content) => {
    await fillRepository();
    if (content !== undefined) await writeFile(lock.credential, content);
    expect(await isPassphraseLost(lock)).toBe(true);
  });
});

describe("the resource", () => {
  let client: ProviderClient;
  let inputs: Properties;
  const { token } = secret;

  beforeEach(async () => {
    client = await ProviderClient.serving([secret]);
    inputs = {
      path: lock.credential,
      owner: ownUser,
      prefix: "",
      generation: 1,
      keep: null,
      opens: lock.repository,
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
      property: "opens",
      reason: `passphrase-lost: ${lock.repository} holds backups, and their passphrase is neither in ${lock.credential} nor in Pulumi's state; another one does not open them, so none was made\nnext: docs/runbooks/lost-passphrase.md: it is in the escrow, and in each member's pgbackrest.conf`,
    });
    await expect(client.create(token, inputs)).rejects.toThrow("passphrase-lost");
    expect(await exists(lock.credential)).toBe(false);
  });

  it("is written anew from the state, which still has it", async () => {
    const { id, state } = await client.create(token, inputs);
    await fillRepository();
    await rm(lock.credential);
    expect(await client.check(token, inputs, state)).toEqual([]);
    await client.update(token, id, state, inputs);
    expect(await isPassphraseLost(lock)).toBe(false);
  });
});
