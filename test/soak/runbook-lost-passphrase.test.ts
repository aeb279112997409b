import { readFile, rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exists } from "#system";
import { backendFiles, credentialPath } from "#stack";
import { RunbookStack } from "./runbook-stack.ts";

/*
 * The commands of docs/runbooks/lost-passphrase.md, while the passphrase disappears from one place after
 * another. Later tests stand on earlier ones.
 */

let stack: RunbookStack;

beforeAll(async () => {
  stack = await RunbookStack.create();
  await stack.must("npm run up");
});

afterAll(async () => {
  await stack.end();
});

const page = "lost-passphrase";
const phrase = "correct horse battery staple\n";
let passphrase: string;

async function credential(): Promise<string> {
  return await readFile(credentialPath(stack.home.paths, "repository-cipher"), "utf8");
}

async function loseCredential(): Promise<void> {
  await rm(credentialPath(stack.home.paths, "repository-cipher"));
}

it("and stands in Pulumi's state", async () => {
  passphrase = await credential();
  await stack.writeEscrow(phrase);
  await loseCredential();
  await stack.followAll(page, "");
  await stack.followAll(page, "Check");
  const [up] = await stack.steps(page, "Act");
  if (up === undefined) throw new Error("the page does not say how to act");
  await stack.follow(up);
  expect(await credential()).toBe(passphrase);
  await stack.followAll(page, "Verify", { input: phrase });
  await stack.healthy();
});

it("and stands in a member's configuration", async () => {
  await loseCredential();
  await stack.follow(await stack.step(page, "Act", "sed -n"));
  expect(await credential()).toBe(passphrase);
  await stack.healthy();
});

it("and stands in the escrow alone, Pulumi's state being lost too", async () => {
  await loseCredential();
  await rm(stack.home.paths.pulumi, { recursive: true });
  await misconfigure();
  const refused = await stack.shell("npm run up");
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("passphrase-lost: ")]);
  expect(await exists(backendFiles(stack.home.paths).folder)).toBe(false);
  await stack.follow(await stack.step(page, "Act", "openssl"), { input: phrase });
  expect(await credential()).toBe(passphrase);
  await stack.adoptWhatIsThere();
  expect(await stack.must("npx ctm backup list")).toContain("repository 1: ok");
  await stack.must("npx ctm backup full && rm phrase.txt");
  await stack.healthy();
});

it("and stands nowhere: the rows go into a new stack", async () => {
  await stack.addTasks("not in any backup", 5);
  const before = await stack.tasks();
  await loseCredential();
  await rm(stack.home.paths.pulumi, { recursive: true });
  await misconfigure();
  await stack.follow(await stack.step(page, "Act", "pg_dump"));
  await stack.follow(await stack.step(page, "Act", "npm run down"));
  expect(await credential()).not.toBe(passphrase);
  await stack.follow(await stack.step(page, "Act", "empty.sql rows.sql |"));
  expect(await stack.tasks()).toBe(before);
  await stack.must("npx ctm backup full");
  await stack.healthy();
});

/** The members' own copies of the passphrase are wrong. */
async function misconfigure(): Promise<void> {
  const files = `${stack.home.paths.state}/members/*/pgbackrest.conf`;
  await stack.must(`sed -i s/^repo1-cipher-pass=.*/repo1-cipher-pass=wrong/ ${files}`);
}

it("each command of the page was run", async () => {
  expect(await stack.unfollowed(page)).toEqual([]);
});
