// `ctm check` where nothing is prepared: a fresh clone, an ordinary user, no PostgreSQL.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { identityOf, isRoot, makeDirectory, run } from "#system";
import { checkout, execute, mustSucceed, plainEnvironment, type Ended } from "./home.ts";

/** Made for this test and removed after it. */
const user = "ctm-e2e-check";
/** Where Debian's packages put servers; empty in the test's own mount namespace. */
const debian = ["/usr/lib/postgresql", "/usr/share/postgresql"];

/** Hiding folders from a program needs more than root in some containers. */
const mayHide =
  isRoot() && (await run("unshare", ["--mount", "true"], { accept: [0, 1] })).code === 0;

let folder: string;
let clone: string;

beforeAll(async () => {
  if (!mayHide) return;
  folder = await mkdtemp(join(tmpdir(), "ctm-check-"));
  await makeDirectory(folder, { mode: 0o755 });
  const home = join(folder, "home");
  await run("useradd", ["--home-dir", home, "--create-home", user]);
  clone = join(home, "checkout");
  await run("git", ["clone", "--quiet", `file://${checkout}`, clone]);
  await run("chown", ["--recursive", `${user}:`, clone]);
});

afterAll(async () => {
  if (!mayHide) return;
  await run("userdel", ["--remove", user], { accept: [0, 6, 12] });
  await rm(folder, { recursive: true, force: true });
});

async function check(...args: string[]): Promise<Ended> {
  const { uid, gid } = await identityOf(user);
  const hidden = debian.map((path) => `[ ! -d ${path} ] || mount -t tmpfs none ${path}`);
  const become = `exec setpriv --reuid ${uid} --regid ${gid} --clear-groups node bin/ctm check "$@"`;
  const script = [...hidden, become].join(" && ");
  return await execute("unshare", ["--mount", "sh", "-c", script, "check", ...args], {
    cwd: clone,
    env: { ...plainEnvironment(), HOME: join(folder, "home"), USER: user, LOGNAME: user },
  });
}

describe.runIf(mayHide)("a fresh clone of an ordinary user without PostgreSQL", () => {
  it("is checked, on a server from npm", async () => {
    const report: unknown = JSON.parse(mustSucceed("ctm check", await check("--json")));
    expect(report).toMatchObject({
      ok: true,
      server: "PostgreSQL 15 (from npm)",
      findings: [],
    });
    expect((report as { checks: { outcome: string }[] }).checks).not.toContainEqual(
      expect.objectContaining({ outcome: "skipped" }),
    );
  });

  it("is red when a file is", async () => {
    await run("bash", ["-c", `echo 'SELEC 1;' > ${clone}/database/migrations/901_typo.sql`]);
    const { code, stdout } = await check();
    expect(stdout).toContain("database/migrations/901_typo.sql:1: migrations: syntax error");
    expect(code).toBe(3);
  });
});
