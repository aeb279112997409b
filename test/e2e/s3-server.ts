import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { waitFor } from "#system";
import { pythonVenv } from "../python-venv.ts";
import { accepts } from "../../infra/runtime/local/ports.ts";
import { freePort } from "../../infra/runtime/testing/free-port.ts";

/** A stand-in for S3 from PyPI (https://docs.getmoto.org), installed into the cache once. */
const version = "5.2.5";

export interface S3Server {
  endpoint: string;
  stop(): Promise<void>;
}

/** Starts an empty S3 server on a free port of the loopback address. */
export async function startS3Server(): Promise<S3Server> {
  const folder = await pythonVenv(`moto-${version}`, [`moto[server,s3]==${version}`]);
  const program = join(folder, "bin", "moto_server");
  const port = await freePort();
  const child = spawn(program, ["-H", "127.0.0.1", "-p", String(port)], { stdio: "ignore" });
  await waitFor("the S3 server to listen", 30_000, async () =>
    (await accepts("127.0.0.1", port)) ? true : undefined,
  );
  return { endpoint: `http://127.0.0.1:${port}`, stop: () => stop(child) };
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGKILL");
  await ended;
}
