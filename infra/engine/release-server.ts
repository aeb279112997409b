import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";

/** For tests: a server in the place of Pulumi's downloads. */
export interface ReleaseServer {
  url: string;
  /** Paths, in the order they were asked for. */
  requests: string[];
  close(): Promise<void>;
}

/** Listens on loopback; `answer` says what happens to each path. */
export async function serveReleases(
  answer: (path: string, response: ServerResponse) => void,
): Promise<ReleaseServer> {
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    requests.push(path);
    answer(path, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  return { url: `http://127.0.0.1:${address.port}`, requests, close };
}
