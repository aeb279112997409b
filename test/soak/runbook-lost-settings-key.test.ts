import { readFile, rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exists } from "#system";
import { backendFiles, credentialPath } from "#stack";
import { RunbookStack } from "./runbook-stack.ts";

/*
 * The commands of docs/runbooks/lost-settings-key.md, while the key disappears from one place after
 * another. Later tests stand on earlier ones.
 */

let stack: RunbookStack;

beforeAll(async () => {
  stack = await RunbookStack.create();
  await stack.must("npm run up");
  await encrypt();
});

afterAll(async () => {
  await stack.end();
});

const page = "lost-settings-key";
const phrase = "correct horse battery staple\n";
const setting = "smtp.password";
let key: string;

async function credential(): Promise<string> {
  return await readFile(credentialPath(stack.home.paths, "settings-key"), "utf8");
}

/** As a program would that has the key: as a bind parameter. */
async function encrypt(): Promise<void> {
  const values = [setting, JSON.stringify("pa55word"), (await credential()).trimEnd()];
  await stack.home.owner("SELECT set_encrypted_setting($1, $2, $3)", "rw", values);
}

async function decrypted(): Promise<unknown> {
  const values = [setting, (await credential()).trimEnd()];
  const { rows } = await stack.home.owner(
    "SELECT get_encrypted_setting($1, $2) AS value",
    "rw",
    values,
  );
  return rows[0]?.["value"];
}

async function loseCredential(): Promise<void> {
  await rm(credentialPath(stack.home.paths, "settings-key"));
}

async function loseBoth(): Promise<void> {
  await loseCredential();
  await rm(stack.home.paths.pulumi, { recursive: true });
}

async function refused(words: string): Promise<void> {
  const { code, stderr } = await stack.shell("npm run up");
  expect([code, stderr]).toEqual([2, expect.stringContaining("settings-key-lost: ")]);
  expect(stderr).toContain(words);
  expect(await exists(backendFiles(stack.home.paths).folder)).toBe(false);
  expect(await exists(credentialPath(stack.home.paths, "settings-key"))).toBe(false);
}

it("and stands in Pulumi's state", async () => {
  key = await credential();
  await stack.writeEscrow(phrase);
  await loseCredential();
  await stack.followAll(page, "");
  await stack.followAll(page, "Check");
  await stack.follow(await stack.step(page, "Act", "npm run up"));
  expect(await credential()).toBe(key);
  expect(await decrypted()).toBe("pa55word");
  await stack.healthy();
  await stack.followAll(page, "Verify", { input: phrase });
});

it("and stands in the escrow alone, Pulumi's state being lost too", async () => {
  await loseBoth();
  await refused(`holds encrypted settings (${setting})`);
  await stack.follow(await stack.step(page, "Act", "escrow.txt"), { input: phrase });
  await stack.must("rm phrase.txt");
  await stack.adoptWhatIsThere();
  expect(await stack.home.json("up")).toMatchObject({ changes: 0 });
  expect(await credential()).toBe(key);
  expect(await decrypted()).toBe("pa55word");
});

it("and stands nowhere, and the database does not answer: up goes on with another one", async () => {
  await loseBoth();
  await stack.must("npx ctm stop");
  await refused("cannot be asked");
  await stack.follow(await stack.step(page, "Act", "openssl rand"));
  await stack.adoptWhatIsThere();
  const doctor = await stack.shell("npx ctm doctor");
  expect([doctor.code, doctor.stdout]).toEqual([3, expect.stringContaining(`not open ${setting}`)]);
});

it("and stands nowhere: the values are given up", async () => {
  await loseBoth();
  await refused(`holds encrypted settings (${setting})`);
  await stack.follow(await stack.step(page, "Act", "DELETE"));
  await stack.adoptWhatIsThere();
  expect(await credential()).not.toBe(key);
  await encrypt();
  expect(await decrypted()).toBe("pa55word");
  await stack.healthy();
  await stack.follow(await stack.step(page, "Verify", "doctor"));
});

it("each command of the page was run", async () => {
  expect(await stack.unfollowed(page)).toEqual([]);
});
