import { connect, createServer, type Socket } from "node:net";

/**
 * A TCP port in front of a server, to be cut or turned elsewhere: what a proxy, a failing network
 * and a failover look like to the API.
 */
export interface Relay {
  port: number;
  /** Connections made so far. */
  accepted: number;
  /** Breaks every connection and refuses new ones. */
  cut(): void;
  /** Breaks every connection; new ones go to another socket. */
  turn(socketDirectory: string): void;
  /** Accepts connections, but lets nothing through: a server that vanished. */
  silence(): void;
  /** Breaks the next connection that is about to send this text, once. */
  cutBefore(text: string): void;
  /** Lets new connections through; silent ones stay silent, as those to a machine that vanished. */
  replace(): void;
  /** Breaks every connection and lets new ones through. */
  restore(): void;
  stop(): Promise<void>;
}

export async function startRelay(socketDirectory: string): Promise<Relay> {
  let target = socketDirectory;
  let mode: "open" | "cut" | "silent" = "open";
  let fuse: string | undefined;
  const open = new Set<Socket>();
  const breakAll = (): void => {
    for (const socket of open) socket.destroy();
  };
  const server = createServer((client) => {
    relay.accepted += 1;
    open.add(client);
    client.on("close", () => open.delete(client));
    client.on("error", () => undefined);
    if (mode === "cut") {
      client.destroy();
      return;
    }
    if (mode === "silent") return;
    const upstream = connect(`${target}/.s.PGSQL.5432`);
    open.add(upstream);
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => {
      open.delete(upstream);
      client.destroy();
    });
    client.on("close", () => upstream.destroy());
    client.on("data", (chunk: Buffer) => {
      if (fuse !== undefined && chunk.includes(fuse)) {
        fuse = undefined;
        client.destroy();
        upstream.destroy();
      } else upstream.write(chunk);
    });
    client.on("end", () => upstream.end());
    upstream.pipe(client);
  });
  const relay: Relay = {
    port: 0,
    accepted: 0,
    cut: () => {
      mode = "cut";
      breakAll();
    },
    turn: (directory) => {
      target = directory;
      mode = "open";
      breakAll();
    },
    silence: () => {
      mode = "silent";
      for (const socket of open) socket.pause();
    },
    cutBefore: (text) => {
      fuse = text;
    },
    replace: () => {
      mode = "open";
    },
    restore: () => {
      mode = "open";
      breakAll();
    },
    stop: async () => {
      breakAll();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening on a port");
  relay.port = address.port;
  return relay;
}
