import { chmod, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { temporaryFolder } from "./temporary.ts";

/** A systemd that only knows which units are enabled, by a systemctl first on PATH. */
export interface FakeSystemctl {
  enabled(): Promise<string[]>;
  disable(unit: string): Promise<void>;
  end(): Promise<void>;
}

export async function fakeSystemctl(): Promise<FakeSystemctl> {
  const folder = await temporaryFolder("systemctl");
  const [programs, units] = [join(folder, "bin"), join(folder, "units")];
  await mkdir(programs);
  await mkdir(units);
  const script = `#!/bin/sh
cd '${units}' || exit 1
case $1 in
  enable) : > "$2" ;;
  disable) rm -f "$2" ;;
  is-enabled) test -e "$3" ;;
esac
`;
  await writeFile(join(programs, "systemctl"), script);
  await chmod(join(programs, "systemctl"), 0o755);
  const path = process.env["PATH"];
  process.env["PATH"] = `${programs}:${path}`;
  return {
    enabled: () => readdir(units),
    disable: (unit) => rm(join(units, unit)),
    end: async () => {
      process.env["PATH"] = path;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
