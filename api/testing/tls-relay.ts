import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TLSSocket, createSecureContext } from "node:tls";
import { run } from "#system";

/** A CA of a test; everything PEM. */
export interface TestAuthority {
  certificate: string;
  /** @param names subjectAltName, as in `DNS:localhost` or `IP:127.0.0.1` */
  issue(names: string): Promise<{ key: string; cert: string }>;
  remove(): Promise<void>;
}

export async function makeAuthority(): Promise<TestAuthority> {
  const folder = await mkdtemp(join(tmpdir(), "ctm-authority-"));
  const file = (name: string): string => join(folder, name);
  const request = async (name: string, ...more: string[]): Promise<void> => {
    await run("openssl", [
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(" "),
      ...["-subj", `/CN=test ${name}`, "-keyout", file(`${name}.key`), "-out", file(name)],
      ...more,
    ]);
  };
  await request("authority");
  return {
    certificate: await readFile(file("authority"), "utf8"),
    issue: async (names) => {
      const signed = ["-CA", file("authority"), "-CAkey", file("authority.key")];
      await request("server", ...signed, "-addext", `subjectAltName=${names}`);
      return {
        key: await readFile(file("server.key"), "utf8"),
        cert: await readFile(file("server"), "utf8"),
      };
    },
    remove: () => rm(folder, { recursive: true }),
  };
}

/** A TCP port that speaks PostgreSQL's TLS in front of a server's socket. */
export async function startTlsRelay(
  socketDirectory: string,
  identity: { key: string; cert: string },
): Promise<{ port: number; stop: () => Promise<void> }> {
  const secureContext = createSecureContext(identity);
  const server = createServer((client) => {
    client.on("error", () => undefined);
    // The client's SSLRequest: 8 bytes, which PostgreSQL answers with S for "go on in TLS".
    client.once("data", () => {
      client.write("S");
      const secure = new TLSSocket(client, { isServer: true, secureContext });
      const upstream = connect(`${socketDirectory}/.s.PGSQL.5432`);
      secure.on("error", () => upstream.destroy());
      secure.on("close", () => upstream.destroy());
      upstream.on("error", () => secure.destroy());
      upstream.on("close", () => secure.destroy());
      secure.pipe(upstream);
      upstream.pipe(secure);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening on a port");
  return {
    port: address.port,
    stop: async () => {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
