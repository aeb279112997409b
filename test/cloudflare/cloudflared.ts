/*
 * Plays cloudflared: takes the same arguments, reads its token from the same file, dials out to the
 * edge, and hands what comes back to the services that the tunnel's configuration names. Needs
 * nothing but Node, so that it runs as a user who cannot read the checkout.
 *
 * EDGE_TUNNEL is HOST:PORT of the edge; the real one finds Cloudflare's by DNS.
 */
import { readFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import { constants, performServerHandshake, type IncomingHttpHeaders } from "node:http2";
import { connect, type Socket } from "node:net";
import { parseArgs } from "node:util";

/** As the tunnel's configuration has it. */
interface Ingress {
  hostname?: string;
  /** `http://HOST:PORT`, or `http_status:404`. */
  service: string;
}

const version = "2026.10.7";
/** As many as the real one holds. */
const wantedConnections = 4;
const firstRetryMs = 100;
const longestRetryMs = 5_000;

function log(level: "INF" | "ERR", text: string): void {
  process.stderr.write(`${new Date().toISOString()} ${level} ${text}\n`);
}

/** Options before `run` belong to `tunnel`, those after it to `run`: the real one insists, too. */
function readArguments(args: readonly string[]): {
  tokenFile: string;
  metrics: { host: string; port: number };
  graceMs: number;
} {
  const at = args.indexOf("run");
  if (args[0] !== "tunnel" || at === -1) throw new Error("usage: cloudflared tunnel … run …");
  const { values: tunnel } = parseArgs({
    args: args.slice(1, at),
    options: {
      config: { type: "string" },
      metrics: { type: "string", default: "127.0.0.1:20241" },
      "grace-period": { type: "string", default: "30s" },
    },
  });
  const { values: run } = parseArgs({
    args: args.slice(at + 1),
    options: { "token-file": { type: "string" } },
  });
  const [host = "", port] = tunnel.metrics.split(":");
  return {
    tokenFile: run["token-file"] ?? "",
    metrics: { host, port: Number(port) },
    graceMs: Number.parseInt(tunnel["grace-period"], 10) * 1000,
  };
}

class Connector {
  readonly #token: string;
  readonly #edge: { host: string; port: number };
  readonly #sockets = new Set<Socket>();
  #ending = false;

  constructor(token: string, edge: { host: string; port: number }) {
    this.#token = token;
    this.#edge = edge;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  start(): void {
    for (let index = 0; index < wantedConnections; index++) this.#dial(index, firstRetryMs);
  }

  end(): void {
    this.#ending = true;
    for (const socket of this.#sockets) socket.end();
  }

  #dial(index: number, retryMs: number): void {
    const socket = connect(this.#edge);
    let wait = retryMs;
    socket.setNoDelay(true);
    socket.once("connect", () => socket.write(`${JSON.stringify({ token: this.#token })}\n`));
    readLine(socket, (line) => {
      const answer = JSON.parse(line) as { ingress?: Ingress[]; error?: string };
      if (answer.ingress === undefined) {
        log("ERR", `Register tunnel error from server side error="${answer.error}"`);
        socket.destroy();
        return;
      }
      wait = firstRetryMs;
      this.#sockets.add(socket);
      log("INF", `Registered tunnel connection connIndex=${index}`);
      this.#serve(socket, answer.ingress);
    });
    socket.on("error", (error) => log("ERR", `Connection with the edge: ${error.message}`));
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (this.#ending) return;
      setTimeout(() => this.#dial(index, Math.min(wait * 2, longestRetryMs)), wait);
    });
  }

  #serve(socket: Socket, ingress: readonly Ingress[]): void {
    performServerHandshake(socket).on("stream", (stream, headers) => {
      stream.on("error", (error: Error) => log("ERR", error.message));
      const host = String(headers[constants.HTTP2_HEADER_AUTHORITY]);
      const rule = ingress.find(({ hostname }) => hostname === undefined || hostname === host);
      const status = /^http_status:(\d+)$/.exec(rule?.service ?? "http_status:503")?.[1];
      if (status !== undefined) {
        stream.respond({ ":status": Number(status) });
        stream.end();
        return;
      }
      const outgoing = request(
        new URL(rule?.service ?? ""),
        {
          method: String(headers[constants.HTTP2_HEADER_METHOD]),
          path: String(headers[constants.HTTP2_HEADER_PATH]),
          headers: { ...plainHeaders(headers), host },
          agent: false,
        },
        (response) => {
          const { connection: _, "transfer-encoding": __, ...kept } = response.headers;
          stream.respond({ ...kept, ":status": response.statusCode ?? 502 });
          response.pipe(stream);
        },
      );
      outgoing.on("error", (error) => {
        log("ERR", `Unable to reach the origin service: ${error.message}`);
        if (stream.headersSent) stream.close();
        else stream.respond({ ":status": 502 }, { endStream: true });
      });
      stream.pipe(outgoing);
    });
  }
}

function plainHeaders(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).filter(
      (entry): entry is [string, string | string[]] =>
        !entry[0].startsWith(":") && entry[1] !== undefined,
    ),
  );
}

/** The first line that arrives; what follows it stays in the socket. */
function readLine(socket: Socket, then: (line: string) => void): void {
  let text = "";
  const read = (): void => {
    for (;;) {
      const byte = socket.read(1) as Buffer | null;
      if (byte === null) return;
      if (byte[0] !== 0x0a) {
        text += byte.toString("latin1");
        continue;
      }
      socket.off("readable", read);
      then(text);
      return;
    }
  };
  socket.on("readable", read);
}

function serveMetrics(connector: Connector, at: { host: string; port: number }): Server {
  const server = createServer((incoming, response) => {
    if (incoming.url !== "/ready") return void response.writeHead(404).end();
    const readyConnections = connector.connections;
    const status = readyConnections === 0 ? 503 : 200;
    response.writeHead(status).end(JSON.stringify({ status, readyConnections }));
  });
  server.listen(at);
  return server;
}

function main(args: readonly string[]): void {
  if (args[0] === "--version") {
    process.stdout.write(`cloudflared version ${version} (stand-in of the tests)\n`);
    return;
  }
  const { tokenFile, metrics, graceMs } = readArguments(args);
  const [host = "", port] = (process.env["EDGE_TUNNEL"] ?? "").split(":");
  const token = readFileSync(tokenFile, "utf8").trim();
  const connector = new Connector(token, { host, port: Number(port) });
  const server = serveMetrics(connector, metrics);
  connector.start();
  process.once("SIGTERM", () => {
    log("INF", "Initiating graceful shutdown due to signal terminated");
    connector.end();
    server.close();
    setTimeout(() => process.exit(0), graceMs).unref();
  });
}

main(process.argv.slice(2));
