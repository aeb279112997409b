import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Artifact, pulumiCli, resourcePlugin } from "./artifacts.ts";
import { findChecksum } from "./download.ts";
import { lockedVersion } from "./versions.ts";

async function goModule(artifact: Artifact): Promise<string> {
  if (artifact.build === undefined) throw new Error(`${artifact.title} has no module`);
  return readFile(join(artifact.build.module, "go.mod"), "utf8");
}

describe("what is built is what package-lock.json names", () => {
  test("the CLI's module pins the version of @pulumi/pulumi", async () => {
    const cli = await pulumiCli();
    expect(cli.version).toBe(await lockedVersion("@pulumi/pulumi"));
    expect(cli.build?.pinnedFor).toBe(cli.version);
    expect(await goModule(cli)).toContain(`github.com/pulumi/pulumi/pkg/v3 v${cli.version}`);
    expect(await goModule(cli)).toContain(`github.com/pulumi/pulumi/sdk/v3 v${cli.version}`);
  });

  test("the postgresql plugin's module was made for the version of @pulumi/postgresql", async () => {
    const plugin = await resourcePlugin("postgresql");
    expect(plugin.build?.pinnedFor).toBe(await lockedVersion("@pulumi/postgresql"));
    // @pulumi/postgresql 3.18.1 is made of this provider.
    expect(await goModule(plugin)).toContain(
      "github.com/cyrilgdn/terraform-provider-postgresql v1.27.0",
    );
  });

  test("what is built is kept apart from what is downloaded", async () => {
    const plugin = await resourcePlugin("postgresql");
    expect(plugin.folder).toBe(`plugins/resource-postgresql-v${plugin.version}`);
    expect(plugin.build?.folder).toMatch(/^plugins\/resource-postgresql-v[\d.]+-[0-9a-f]{8}$/);
  });

  test("a package that is not locked is refused", async () => {
    await expect(lockedVersion("@pulumi/nothing")).rejects.toMatchObject({
      code: "package-not-locked",
      next: "npm install --save-exact @pulumi/nothing",
    });
  });
});

describe("findChecksum", () => {
  const sha256 = "a".repeat(64);
  const sha1 = "b".repeat(40);

  test.each([
    ["the CLI's list", `${sha256}  pulumi.tar.gz\n`, { algorithm: "sha256", hex: sha256 }],
    ["a plugin's list", `${sha1}  ./pulumi.tar.gz\n`, { algorithm: "sha1", hex: sha1 }],
    ["a list in binary mode", `${sha256} *pulumi.tar.gz\r\n`, { algorithm: "sha256", hex: sha256 }],
    ["another file's name", `${sha256}  not-pulumi.tar.gz\n`, undefined],
    ["a checksum of another length", "abc123  pulumi.tar.gz\n", undefined],
  ])("%s", (_name, list, expected) => {
    expect(findChecksum(list, "sdk/pulumi.tar.gz")).toEqual(expected);
  });
});
