import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { exists, run } from "#system";
import { bootUnit as bootUnitType } from "../../provider/types/boot-unit.ts";
import { bootUnit, startsAtBoot } from "./boot-unit.ts";
import { supervisorPaths } from "./supervisor.ts";

const paths = supervisorPaths({
  state: "/var/lib/ctm/local",
  run: "/run/ctm/local",
  log: "/var/log/ctm/local",
});
const text = bootUnit("local", paths, [
  { path: "/run/ctm/local", owner: "root", mode: "0755" },
  { path: "/run/ctm/local/members", owner: "root", mode: "0700" },
]);

const analyze = "/usr/bin/systemd-analyze";
const hasAnalyze = await exists(analyze);
let folder: string;
let pathBefore: string | undefined;

/** systemctl keeps which units are enabled as files. */
const systemctl = `#!/bin/sh
echo "$*" >> "$UNITS/calls"
case $1 in
  enable) touch "$UNITS/enabled-$2" ;;
  disable) rm -f "$UNITS/enabled-$2" ;;
  is-enabled) test -e "$UNITS/enabled-$3" ;;
esac`;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-units-"));
  await mkdir(join(folder, "bin"));
  await writeFile(join(folder, "bin/systemctl"), systemctl.replaceAll("$UNITS", folder));
  await chmod(join(folder, "bin/systemctl"), 0o755);
  pathBefore = process.env["PATH"];
  process.env["PATH"] = `${folder}/bin:${pathBefore}`;
});

afterEach(async () => {
  process.env["PATH"] = pathBefore;
  await rm(folder, { recursive: true, force: true });
});

describe("the unit", () => {
  it("makes the folders of /run, then starts supervisord with the services' environment", () => {
    expect(text).toContain(
      "ExecStartPre=/usr/bin/install -d -o root -g root -m 0700 /run/ctm/local/members\n",
    );
    expect(text).toContain(
      "Environment=LC_ALL=C.UTF-8 TZ=UTC CTM_STACK_DIRECTORY=/var/lib/ctm/local\n",
    );
    expect(text).toContain(
      "ExecStart=/usr/bin/supervisord -c /var/lib/ctm/local/supervisor/supervisord.conf\n",
    );
  });

  it.runIf(hasAnalyze)("is one that systemd accepts", async () => {
    const unit = join(folder, "ctm-local.service");
    await writeFile(unit, text);
    const { stderr } = await run(analyze, ["verify", "--man=no", unit], { accept: [0, 1] });
    expect(stderr.split("\n").filter((line) => line.includes("ctm-local"))).toEqual([]);
  });

  it("is written only where systemd runs the machine, and not for a home that was moved", async () => {
    expect(await startsAtBoot({ CTM_HOME: "/somewhere" })).toBe(false);
  });
});

describe("the resource", () => {
  const context = { report: () => undefined };

  it("enables the unit, sees what was changed by hand, and takes it away", async () => {
    const path = join(folder, "ctm-local.service");
    const wanted = { path, content: text, enabled: true };
    const { id, outputs } = await bootUnitType.create(wanted, context);
    expect(await bootUnitType.read(id, outputs)).toEqual(wanted);

    await rm(join(folder, "enabled-ctm-local.service"));
    expect(await bootUnitType.read(id, outputs)).toEqual({ ...wanted, enabled: false });
    await writeFile(path, "[Unit]\n");
    expect(await bootUnitType.read(id, outputs)).toMatchObject({ content: "[Unit]\n" });
    await bootUnitType.update(id, outputs, wanted, context);
    expect(await bootUnitType.read(id, outputs)).toEqual(wanted);

    await bootUnitType.delete(id, outputs, context);
    expect(await bootUnitType.read(id, outputs)).toBeUndefined();
    await bootUnitType.delete(id, outputs, context);
    expect(await readFile(join(folder, "calls"), "utf8")).toContain("daemon-reload\n");
  });
});
