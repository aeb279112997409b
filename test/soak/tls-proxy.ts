import { connect, type Socket } from "node:net";
import { createServer } from "node:tls";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeDirectory, run } from "#system";

/**
 * TLS before a server that speaks plain HTTP: pgBackRest speaks S3 over TLS only, and fails on
 * moto's own ("unexpected eof", measured with 2.45).
 */
export interface TlsProxy {
  port: number;
  endpoint: string;
  /** PEM of its self-signed certificate, readable by all. */
  authority: string;
  /** Refuses connections and drops those that are open, as a region that is gone. */
  close(): Promise<void>;
  /** Listens again, on the same port. */
  open(): Promise<void>;
  stop(): Promise<void>;
}

/** @param target `http://host:port` of the server behind it */
export async function startTlsProxy(target: string): Promise<TlsProxy> {
  const folder = await mkdtemp(join(tmpdir(), "ctm-tls-"));
  await makeDirectory(folder, { mode: 0o755 });
  const authority = join(folder, "ca.crt");
  const key = join(folder, "server.key");
  await run("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=s3".split(
      " ",
    ),
    ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", authority],
  ]);
  const { hostname, port: targetPort } = new URL(target);
  const sockets = new Set<Socket>();
  const track = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer(
    { key: await readFile(key), cert: await readFile(authority) },
    (incoming) => {
      const outgoing = connect(Number(targetPort), hostname);
      track(incoming);
      track(outgoing);
      incoming.pipe(outgoing).pipe(incoming);
      incoming.on("close", () => outgoing.destroy());
      outgoing.on("close", () => incoming.destroy());
    },
  );
  const listen = async (port: number): Promise<void> => {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, "127.0.0.1", () => {
        server.off("error", reject);
        resolve();
      });
    });
  };
  const close = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await listen(0);
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    port,
    endpoint: `https://localhost:${port}`,
    authority,
    close,
    open: () => listen(port),
    async stop() {
      if (server.listening) await close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
