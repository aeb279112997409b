import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { backendFiles, stackPaths, type StackPaths } from "#stack";
import { exists, makeDirectory, waitFor } from "#system";
import { takeLock } from "../../bin/lock.js";
import { openWorkspace } from "./environment.ts";
import { mendState } from "./locks.ts";

const older = '{"version":3,"checkpoint":{"stack":"organization/ctm/local"}}';
const newer = `${older} `;

/** A home whose file backend has a checkpoint and, unless undefined, Pulumi's copy of the one before. */
async function homeWith(checkpoint: string, copy: string | undefined) {
  const home = await mkdtemp(join(tmpdir(), "ctm-locks-"));
  onTestFinished(() => rm(home, { recursive: true }));
  const paths = stackPaths("local", { CTM_HOME: home });
  const files = backendFiles(paths);
  await makeDirectory(dirname(files.checkpoint), { mode: 0o700 });
  await writeFile(files.checkpoint, checkpoint);
  if (copy !== undefined) await writeFile(files.checkpointCopy, copy);
  const lines: string[] = [];
  const report = (line: string): void => void lines.push(line);
  return { home, paths, files, lines, report, place: placeOf(paths, files.folder) };
}

function placeOf(paths: StackPaths, fileBackend: string | undefined) {
  return { stack: paths.stack, paths, fileBackend };
}

describe("a checkpoint that a killed run left", () => {
  test.each([
    ["empty", ""],
    ["cut off", newer.slice(0, 30)],
    ["unwritten", "\0".repeat(60)],
  ])("%s is put aside, and Pulumi's copy in its place", async (_, broken) => {
    const { place, files, lines, report } = await homeWith(broken, older);
    await mendState(place, report);
    expect(await readFile(files.checkpoint, "utf8")).toBe(older);
    expect(await readFile(files.brokenCheckpoint, "utf8")).toBe(broken);
    expect(lines).toEqual([
      `a killed run left Pulumi's state of "local" cut off: the copy from before its last write is in its place, the broken file is ${files.brokenCheckpoint}`,
    ]);
  });

  test("whole stays as it is, and nobody is kept out", async () => {
    const { place, paths, files, lines, report } = await homeWith(newer, older);
    await mendState(place, report);
    expect(await readFile(files.checkpoint, "utf8")).toBe(newer);
    expect(await exists(files.brokenCheckpoint)).toBe(false);
    expect(await exists(join(paths.pulumi, "local.lock"))).toBe(false);
    expect(lines).toEqual([]);
  });

  test("stays as it is where the user logged in to another backend", async () => {
    const { paths, files, report } = await homeWith("", older);
    await mendState(placeOf(paths, undefined), report);
    expect(await readFile(files.checkpoint, "utf8")).toBe("");
  });

  test("is left alone while another run works on the stack", async () => {
    const { place, paths, files, lines, report } = await homeWith("", older);
    const other = await takeLock(join(paths.pulumi, "local.lock"), () => undefined);
    const mended = mendState(place, report);
    await waitFor("the run to wait", 10_000, () => {
      expect(lines).toEqual([`waiting for another run on this stack (pid ${process.pid})`]);
      return true;
    });
    expect(await readFile(files.checkpoint, "utf8")).toBe("");
    other.release();
    await mended;
    expect(await readFile(files.checkpoint, "utf8")).toBe(older);
  });

  test("before anything was recorded goes, so that the stack begins anew", async () => {
    const { place, files, lines, report } = await homeWith("", undefined);
    await mendState(place, report);
    expect(await exists(files.checkpoint)).toBe(false);
    expect(lines).toEqual([
      `a killed run left Pulumi's state of "local" cut off before anything was in it: it begins anew, the broken file is ${files.brokenCheckpoint}`,
    ]);
  });

  test.each([
    ["its copy is cut off too", "", "state"],
    ["it has no copy, but a folder of the stack", undefined, "state"],
    ["it has no copy, but a run of the edge alone has ended", undefined, "backups"],
  ])("is refused where %s", async (_, copy, trace) => {
    const { home, paths, files } = await homeWith("", copy);
    await writeFile(files.passphrase, "phrase\n");
    const backups = join(files.folder, ".pulumi/backups/ctm/local");
    await makeDirectory(trace === "state" ? paths.state : backups, { mode: 0o755 });
    await expect(openWorkspace("local", () => undefined, { CTM_HOME: home })).rejects.toMatchObject(
      {
        code: "pulumi-state-broken",
        message: `${files.checkpoint}, Pulumi's state of "local", is empty or cut off, and so is ${files.checkpointCopy}, or it is not there`,
        next: "docs/runbooks/lost-checkout-or-pulumi-state.md",
      },
    );
    expect(await readFile(files.checkpoint, "utf8")).toBe("");
    expect(await exists(files.brokenCheckpoint)).toBe(false);
  });
});
