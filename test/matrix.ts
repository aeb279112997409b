// `npm run test:matrix`: the database's tests (migrations, upgrades, pgTAP) on every PostgreSQL
// version from 13 to 18. `npm run test:matrix -- 13 18` takes those two.
import { embeddedServer, embeddedVersions } from "#database";
import { messageOf } from "#system";
import { lastLine, runVitest, totalsOf, type Counts } from "./run-vitest.ts";

/** What runs on each: everything of the database but pgtap-runner, which is not about versions. */
const tests = ["catalog", "lint", "runner", "tests"].map((folder) => `database/${folder}/`);

interface Row extends Counts {
  version: string;
  seconds: number;
}

async function testOn(major: string): Promise<Row> {
  const begun = Date.now();
  const binaries = await embeddedServer(major, (text) => console.log(text));
  console.log(`PostgreSQL ${major}`);
  const env = { ...process.env, CTM_POSTGRES_BIN: binaries };
  const files = await runVitest(["--project", "unit", ...tests], env);
  return { version: major, ...totalsOf(files), seconds: Math.round((Date.now() - begun) / 1000) };
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(({ version, passed, failed, skipped, seconds }) =>
    [
      version.padEnd(10),
      ...[passed, failed, skipped, seconds].map((value) => String(value).padStart(8)),
    ].join(""),
  );
  return [`${"PostgreSQL".padEnd(10)}  PASSED  FAILED SKIPPED SECONDS`, ...lines].join("\n");
}

const given = process.argv.slice(2);
const rows: Row[] = [];
let broken = 0;
for (const major of given.length === 0 ? embeddedVersions : given) {
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
