import { request, type IncomingHttpHeaders } from "node:http";

export interface EdgeAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

/** A client of the edge: from which address of the loopback network, and what it sends as it is. */
export interface EdgeCall {
  method?: string;
  path: string;
  headers?: Readonly<Record<string, string>>;
  body?: string;
  from?: string;
  host?: string;
}

/** Sends one request to an edge; nothing of it is corrected on the way. */
export async function callEdge(
  port: number,
  { method, path, headers = {}, body, from = "127.0.0.1", host }: EdgeCall,
): Promise<EdgeAnswer> {
  return await new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: "127.0.0.1",
        port,
        localAddress: from,
        method: method ?? (body === undefined ? "GET" : "POST"),
        path,
        headers: { host: host ?? "api.example.com", ...headers },
        agent: false,
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => (text += part));
        response.once("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        );
        response.once("error", reject);
      },
    );
    outgoing.once("error", reject);
    outgoing.end(body);
  });
}
