import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { backendFiles, stackPaths } from "#stack";
import { exists, makeDirectory } from "#system";
import { openWorkspace, ownBackend } from "./environment.ts";

const paths = stackPaths("local", { CTM_HOME: "/h" });

/** What `ctm env` has a shell export. */
const exported = (home: string) => ({
  PULUMI_BACKEND_URL: `file://${home}/pulumi/backend`,
  PULUMI_CONFIG_PASSPHRASE_FILE: `${home}/pulumi/passphrase`,
});

describe("the backend of a home", () => {
  test.each([
    ["where nothing is exported", {}],
    ["where it is exported empty", { PULUMI_BACKEND_URL: "" }],
    ["in a shell that was told of it", exported("/h")],
    [
      "in a shell that was told of it, with the user's passphrase",
      { PULUMI_BACKEND_URL: exported("/h").PULUMI_BACKEND_URL },
    ],
  ])("is our own %s", (_, env) => {
    expect(ownBackend(paths, env)).toBe("/h/pulumi/backend");
  });

  test.each(["s3://bucket", "file:///elsewhere", "file:///elsewhere/pulumi/backend"])(
    "is the user's where that is %s",
    (url) => {
      expect(ownBackend(paths, { PULUMI_BACKEND_URL: url })).toBeUndefined();
    },
  );

  test("is that of the home that the command is for, in a shell that was told of another", () => {
    expect(ownBackend(paths, exported("/other"))).toBe("/h/pulumi/backend");
  });
});

test("no other passphrase is made over the states of a home", async () => {
  const home = await mkdtemp(join(tmpdir(), "ctm-environment-"));
  onTestFinished(() => rm(home, { recursive: true }));
  const { checkpoint, folder, passphrase } = backendFiles(stackPaths("new", { CTM_HOME: home }));
  await makeDirectory(dirname(checkpoint), { mode: 0o700 });
  await writeFile(join(dirname(checkpoint), "local.json"), "{}");
  await writeFile(join(dirname(checkpoint), "local.json.bak"), "{}");
  await expect(openWorkspace("new", () => undefined, { CTM_HOME: home })).rejects.toMatchObject({
    code: "pulumi-passphrase-lost",
    message: `${folder} holds Pulumi's state of local, and its passphrase, ${passphrase}, is not there; another one does not open it, so none was made`,
    exitCode: 2,
  });
  expect(await exists(passphrase)).toBe(false);
});
