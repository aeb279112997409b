import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { pgProveArguments } from "../src/psql/external.ts";
import { Script } from "../src/psql/script.ts";
import { Source } from "../src/psql/source.ts";
import { Session } from "../src/server/session.ts";
import type { TestServer } from "./server.ts";

/** What is compared of a script that ran here and in psql. */
export interface ScriptOutcome {
  stdout: string;
  failed: boolean;
}

/** Runs a script as pg_prove would have psql run it. */
export function withPsql(server: TestServer, file: string): Promise<ScriptOutcome> {
  return new Promise((resolve) => {
    const args = [...pgProveArguments, `--file=${file}`];
    const env = { ...server.environment, PLACE: "here" };
    execFile(
      "psql",
      args,
      { cwd: dirname(file), env, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout) => resolve({ stdout, failed: error !== null }),
    );
  });
}

/** Runs a script here. */
export async function natively(server: TestServer, file: string): Promise<ScriptOutcome> {
  process.env["PLACE"] = "here";
  const session = await Session.connect(server.settings, "app", "test");
  let stdout = "";
  try {
    const script = new Script(
      session,
      {
        onText: (text) => (stdout += text),
        onWarning: () => undefined,
        onNotice: () => undefined,
        onTolerated: () => undefined,
        onStatement: () => undefined,
      },
      { workingDirectory: dirname(file), variables: { DBNAME: "app" } },
    );
    const error = await script.run(Source.read(file, "test.sql"), dirname(file));
    return { stdout, failed: error !== undefined };
  } finally {
    await session.close();
  }
}
