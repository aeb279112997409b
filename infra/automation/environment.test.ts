import { describe, expect, test } from "vitest";
import { stackPaths } from "#stack";
import { ownBackend } from "./environment.ts";

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
