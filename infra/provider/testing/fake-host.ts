import { appendFile, chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isRoot, readFileIfExists } from "#system";
import { temporaryFolder } from "./temporary.ts";

/** A machine whose packages and users are lines of files, by programs first on PATH. */
export interface FakeHost {
  folder: string;
  installed(): Promise<string[]>;
  remove(name: string): Promise<void>;
  removeUser(name: string): Promise<void>;
  /** Each call of apt-get, and what it found. */
  calls(): Promise<string[]>;
  end(): Promise<void>;
}

/** Debian's dpkg-query exits 1 when it does not know a package. */
const dpkgQuery = `shift 3
code=0
for name in "$@"; do
  if grep -qx "$name" "$HOST/installed"; then echo "$name installed"
  elif grep -qx "$name" "$HOST/removed"; then echo "$name config-files"
  else echo "dpkg-query: no packages found matching $name" >&2; code=1
  fi
done
exit $code`;

const aptGet = `echo "$*" >> "$HOST/calls"
if [ -x /usr/sbin/policy-rc.d ]; then /usr/sbin/policy-rc.d; echo "policy $?" >> "$HOST/calls"; fi
[ -e "$HOST/apt-fails" ] && { echo "E: Unable to fetch some archives" >&2; exit 100; }
[ "$1" = install ] || exit 0
[ -e "$HOST/apt-lies" ] && exit 0
shift
for name in "$@"; do case $name in -*) ;; *) echo "$name" >> "$HOST/installed" ;; esac; done`;

const getent = `grep "^$2:" "$HOST/users" || exec /usr/bin/getent "$@"`;

const useradd = `while [ $# -gt 1 ]; do shift; done
echo "$1:x:999:999::/nonexistent:/usr/sbin/nologin" >> "$HOST/users"`;

export async function fakeHost(): Promise<FakeHost> {
  const folder = await temporaryFolder("host");
  const programs = join(folder, "bin");
  await mkdir(programs);
  const files = { installed: join(folder, "installed"), users: join(folder, "users") };
  // An ordinary user cannot install anything: there it is all installed.
  await writeFile(files.installed, isRoot() ? "" : "alpha\nbeta\ngamma\n");
  for (const name of ["removed", "users", "calls"]) await writeFile(join(folder, name), "");
  const scripts = { "dpkg-query": dpkgQuery, "apt-get": aptGet, getent, useradd };
  for (const [name, script] of Object.entries(scripts)) {
    await writeFile(join(programs, name), `#!/bin/sh\nHOST='${folder}'\n${script}\n`);
    await chmod(join(programs, name), 0o755);
  }
  const path = process.env["PATH"];
  process.env["PATH"] = `${programs}:${path}`;
  const without = async (file: string, drop: (line: string) => boolean): Promise<void> => {
    const lines = (await readFile(file, "utf8")).split("\n");
    await writeFile(file, lines.filter((line) => !drop(line)).join("\n"));
  };
  return {
    folder,
    installed: async () => (await readFile(files.installed, "utf8")).trim().split("\n").toSorted(),
    remove: async (name) => {
      await without(files.installed, (line) => line === name);
      await appendFile(join(folder, "removed"), `${name}\n`);
    },
    removeUser: (name) => without(files.users, (line) => line.startsWith(`${name}:`)),
    calls: async () => ((await readFileIfExists(join(folder, "calls"))) ?? "").trim().split("\n"),
    end: async () => {
      process.env["PATH"] = path;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
