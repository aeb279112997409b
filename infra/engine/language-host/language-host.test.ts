import grpc from "@grpc/grpc-js";
import languageService from "@pulumi/pulumi/proto/language_grpc_pb.js";
import language from "@pulumi/pulumi/proto/language_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { waitFor } from "#system";

// The engine's side of the conversation, with a stand-in for the SDK's runner: what the host hands
// over and what it makes of the end is tested here; the real engine and SDK are in prepare.test.ts.

let project: string;
let host: ChildProcessWithoutNullStreams;
let client: languageService.LanguageRuntimeClient;
let stdout: string;
let stderr: string;

beforeEach(async () => {
  project = await mkdtemp(join(tmpdir(), "ctm language host "));
  await mkdir(join(project, "node_modules/@pulumi/pulumi/cmd/run"), { recursive: true });
  await mkdir(join(project, "infra"));
  host = spawn(join(import.meta.dirname, "pulumi-language-nodejs"), [
    "--logtostderr",
    "127.0.0.1:4242",
  ]);
  stdout = "";
  stderr = "";
  host.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
  host.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
  const port = await waitFor("the host's port", 20_000, () => /^(\d+)\n/.exec(stdout)?.[1]);
  stdout = "";
  client = new languageService.LanguageRuntimeClient(
    `127.0.0.1:${port}`,
    grpc.credentials.createInsecure(),
  );
});

afterEach(async () => {
  client.close();
  host.kill("SIGKILL");
  await rm(project, { recursive: true });
});

/** Puts a program in the place of the SDK's runner. */
async function installRunner(script: string): Promise<void> {
  await writeFile(join(project, "node_modules/@pulumi/pulumi/cmd/run/index.js"), script);
}

function request(): language.RunRequest {
  const info = new language.ProgramInfo();
  info.setRootDirectory(project);
  info.setProgramDirectory(join(project, "infra"));
  info.setEntryPoint("index.ts");
  info.setOptions(struct.Struct.fromJavaScript({ typescript: false, nodeargs: "--title=probe" }));
  const message = new language.RunRequest();
  message.setInfo(info);
  message.setPwd(join(project, "infra"));
  message.setMonitorAddress("127.0.0.1:1");
  message.setOrganization("platform");
  message.setProject("taskmaster");
  message.setStack("local");
  message.setParallel(16);
  message.setDryrun(true);
  message.setArgsList(["one", "two words"]);
  message.getConfigMap().set("taskmaster:members", "2");
  message.setConfigsecretkeysList(["taskmaster:token"]);
  return message;
}

function run(): Promise<language.RunResponse.AsObject> {
  return new Promise((resolve, reject) => {
    client.run(request(), (error, response) => {
      if (error === null) resolve(response.toObject());
      else reject(error);
    });
  });
}

/** The pid that a running program has written. */
function programPid(): Promise<number> {
  return waitFor("the program to start", 20_000, async () => {
    const pid = Number(await readFile(join(project, "pid"), "utf8"));
    return pid > 0 ? pid : undefined;
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const stubborn = `process.on("SIGTERM", () => console.log("not yet"));
  require("fs").writeFileSync("../pid", String(process.pid));
  setInterval(() => undefined, 1000);`;

test("the program gets everything that the engine says", async () => {
  await installRunner(`require("fs").writeFileSync("../seen.json", JSON.stringify({
    title: process.title, cwd: process.cwd(), args: process.argv.slice(2),
    config: process.env.PULUMI_CONFIG, secretKeys: process.env.PULUMI_CONFIG_SECRET_KEYS }));`);
  expect(await run()).toEqual({ error: "", bail: false });
  expect(JSON.parse(await readFile(join(project, "seen.json"), "utf8"))).toEqual({
    title: "probe",
    cwd: join(project, "infra"),
    args: [
      "--monitor",
      "127.0.0.1:1",
      "--engine",
      "127.0.0.1:4242",
      "--organization",
      "platform",
      "--project",
      "taskmaster",
      "--root-directory",
      project,
      "--stack",
      "local",
      "--pwd",
      join(project, "infra"),
      "--parallel",
      "16",
      "--dry-run",
      "index.ts",
      "one",
      "two words",
    ],
    config: '{"taskmaster:members":"2"}',
    secretKeys: '["taskmaster:token"]',
  });
});

test("what the program prints reaches the engine", async () => {
  await installRunner(`console.log("to stdout"); console.error("to stderr");`);
  await run();
  await waitFor("the output", 5_000, () => (stdout !== "" && stderr !== "" ? true : undefined));
  expect({ stdout, stderr }).toEqual({ stdout: "to stdout\n", stderr: "to stderr\n" });
});

describe("how the program ended", () => {
  test.each([
    ["with errors it has shown itself", "process.exit(32)", { error: "", bail: true }],
    [
      "with an exit code",
      "process.exit(3)",
      { error: "the program ended with exit code 3", bail: false },
    ],
    [
      "by a signal",
      "process.kill(process.pid, 'SIGKILL')",
      { error: "the program was ended by SIGKILL", bail: false },
    ],
  ])("%s", async (_name, script, expected) => {
    await installRunner(script);
    expect(await run()).toEqual(expected);
  });

  test("not at all: its folder has no SDK", async () => {
    const { error } = await run();
    expect(error).toMatch(
      /^the program cannot be started: Error: Cannot find module '@pulumi\/pulumi\/cmd\/run\/index\.js'/,
    );
  });
});

test("the program does not colour errors, over which Node would search for many seconds", async () => {
  await installRunner(`const shown = require("util").inspect(new Error("no"), { colors: true });
    require("fs").writeFileSync("../shown", shown);`);
  expect(await run()).toEqual({ error: "", bail: false });
  const shown = await readFile(join(project, "shown"), "utf8");
  expect(shown).toMatch(/^Error: no\n/);
  expect(shown).not.toContain("\u001B");
});

test("cancelling ends a program that does not want to, and the run with it", async () => {
  await installRunner(stubborn);
  const result = run();
  const pid = await programPid();
  await new Promise<void>((resolve, reject) => {
    client.cancel(new empty.Empty(), (error) => (error === null ? resolve() : reject(error)));
  });
  expect(await result).toEqual({ error: "", bail: true });
  expect(stdout).toBe("not yet\n");
  expect(isAlive(pid)).toBe(false);
}, 20_000);

test("when the engine dies, so do the program and the host", async () => {
  await installRunner(stubborn);
  run().catch(() => undefined);
  const pid = await programPid();
  host.stdin.destroy();
  await waitFor("both to end", 5_000, () =>
    isAlive(pid) ? undefined : (host.exitCode ?? undefined),
  );
  expect(host.exitCode).toBe(0);
});

test("what the host does not do is answered as unimplemented", async () => {
  const code = await new Promise((resolve) => {
    client.pack(new language.PackRequest(), (error) => resolve(error?.code));
  });
  expect(code).toBe(grpc.status.UNIMPLEMENTED);
});

test("pulumi about learns which Node runs programs", async () => {
  const about = await new Promise((resolve) => {
    client.about(new language.AboutRequest(), (_error, response) => resolve(response.toObject()));
  });
  expect(z.object({ version: z.string() }).parse(about).version).toBe(process.version);
});
