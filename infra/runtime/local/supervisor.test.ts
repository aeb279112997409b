import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { run } from "#system";
import {
  lastLines,
  programConfiguration,
  programStates,
  supervisordConfiguration,
  supervisordPid,
  supervisorPaths,
  type Program,
  type SupervisorPaths,
} from "./supervisor.ts";

/* That supervisord is started, stopped and repaired is in provider/supervisor-resource.test.ts. */

let folder: string;
let paths: SupervisorPaths;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-supervisor-"));
  const [state, sockets, log] = ["state", "run", "log"].map((name) => join(folder, name));
  paths = supervisorPaths({ state: state ?? "", run: sockets ?? "", log: log ?? "" });
  for (const one of [paths.programs, join(folder, "run"), join(folder, "log")]) {
    await mkdir(one, { recursive: true });
  }
  await writeFile(paths.configuration, supervisordConfiguration(paths));
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const program = (part: Partial<Program>): Program => ({
  name: "web",
  command: ["/bin/true"],
  user: userInfo().username,
  environment: {},
  log: join(folder, "log/web.log"),
  stopWaitSeconds: 120,
  stopSignal: "INT",
  priority: 42,
  ...part,
});

/** What supervisord itself makes of its files, its commands split as it splits them to run them. */
const parser = `
import json, shlex, sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-c", sys.argv[1]])
print(json.dumps([{
  "name": process.name,
  "command": shlex.split(process.command),
  "environment": process.environment,
  "log": process.stdout_logfile,
  "stopWaitSeconds": process.stopwaitsecs,
  "stopSignal": int(process.stopsignal),
  "priority": process.priority,
  "autostart": process.autostart,
  "user": process.uid,
  "socket": options.server_configs[0]["file"],
  "socketMode": oct(options.server_configs[0]["chmod"]),
  "pidFile": options.pidfile,
} for group in options.process_group_configs for process in group.process_configs]))
`;

async function parsed(...programs: Program[]): Promise<Record<string, unknown>[]> {
  for (const one of programs) {
    await writeFile(join(paths.programs, `${one.name}.conf`), programConfiguration(one));
  }
  const { stdout } = await run("/usr/bin/python3", ["-c", parser, paths.configuration]);
  return JSON.parse(stdout) as Record<string, unknown>[];
}

describe("supervisord reads", () => {
  it("everything that we wrote", async () => {
    const found = await parsed(program({}), program({ name: "other", stopSignal: "USR1" }));
    expect(found).toHaveLength(2);
    expect(found.find(({ name }) => name === "web")).toMatchObject({
      command: ["/bin/true"],
      log: join(folder, "log/web.log"),
      stopWaitSeconds: 120,
      stopSignal: 2,
      priority: 42,
      autostart: true,
      socket: paths.socket,
      socketMode: "0o700",
      pidFile: paths.pidFile,
    });
  });

  it("arguments as they are, whatever is in them", async () => {
    const command = [
      "/bin/echo",
      ...["two words", " leading", "trailing ", "", "tab\there", "ünï — ✓"],
      ...['say "hi"', "it's", "'quoted'", '"', "'", "back\\slash", "\\", '\\"'],
      ...["100%", "%(here)s", "%(ENV_HOME)s", "%%", "%"],
      ...["a;b", "c ;d", ";", " ; ", "#e", "f #g", "$HOME `id` $(id)", "*?[!{a,b}", "--x=y z"],
      ...["key=value", "[section]"],
    ];
    const [found] = await parsed(program({ command }));
    expect(found?.["command"]).toEqual(command);
  });

  it("values of the environment as they are", async () => {
    const environment = {
      HOME: "/var/lib/ctm/local/members/m1",
      SPACES: " two words ",
      PERCENT: "50%",
      SIGNS: "a,b=c;d#e $HOME back\\slash ü",
      EMPTY: "",
    };
    const [found] = await parsed(program({ environment }));
    expect(found?.["environment"]).toMatchObject(environment);
  });
});

describe("what supervisord cannot carry is refused", () => {
  it.each(["a\nb", "a\rb"])("in an argument: %j", (argument) => {
    expect(() => programConfiguration(program({ command: ["/bin/x", argument] }))).toThrow(
      "supervisord takes no line end",
    );
  });

  it.each(["it's", 'say "hi"', "a\nb", "a ;b", "a #b", "%(here)s"])(
    "in a value of the environment: %j",
    (value) => {
      expect(() => programConfiguration(program({ environment: { X: value } }))).toThrow(
        "supervisord cannot put this into an environment",
      );
    },
  );
});

describe("the pid of a stack's supervisord", () => {
  it("is none while there is no file, or half of one", async () => {
    expect(await supervisordPid(paths)).toBeUndefined();
    await writeFile(paths.pidFile, "");
    expect(await supervisordPid(paths)).toBeUndefined();
    await writeFile(paths.pidFile, "-1\n");
    expect(await supervisordPid(paths)).toBeUndefined();
  });

  it("is none when another program has it now, as after a reboot", async () => {
    await writeFile(paths.pidFile, `${process.pid}\n`);
    expect(await supervisordPid(paths)).toBeUndefined();
  });
});

it("knows no state of programs where nobody answers", async () => {
  expect(await programStates(paths)).toBeUndefined();
  await writeFile(paths.socket, "");
  expect(await programStates(paths)).toBeUndefined();
});

it("shows the end of a log, and nothing of one that is not there", async () => {
  const log = join(folder, "log/web.log");
  expect(await lastLines(log)).toBe("");
  const lines = Array.from({ length: 20 }, (_, index) => `line ${index + 1}`);
  await writeFile(log, `${lines.join("\n")}\n`);
  expect(await lastLines(log)).toBe(
    `; the last lines of ${log}:\n${lines
      .slice(-8)
      .map((line) => `  ${line}`)
      .join("\n")}`,
  );
});
