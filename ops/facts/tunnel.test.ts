import { createServer, type Server } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { fakeDescriptor } from "../testing/fake-descriptor.ts";
import { readTunnel } from "./tunnel.ts";

let server: Server;
let answer: { status: number; text: string };

beforeEach(async () => {
  server = createServer((_request, response) => {
    response.writeHead(answer.status).end(answer.text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(() => new Promise((resolve) => server.close(resolve)));

async function read(): Promise<unknown> {
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const edge = {
    url: "https://api.example.com",
    executable: "/usr/bin/cloudflared",
    metrics: { host: "127.0.0.1", port },
  };
  return await readTunnel({ ...fakeDescriptor(), edge }, { timeoutMs: 2000 });
}

test.each([
  [200, 4],
  [503, 0],
])("cloudflared answers %i with %i connections", async (status, connections) => {
  const text = JSON.stringify({ status, readyConnections: connections, connectorId: "c" });
  answer = { status, text };
  expect(await read()).toEqual({ connections });
});

test("something else on its port is no tunnel", async () => {
  answer = { status: 200, text: "hello" };
  await expect(read()).rejects.toThrow("JSON");
});

test("without Cloudflare there is nothing to ask", async () => {
  expect(await readTunnel(fakeDescriptor(), { timeoutMs: 1 })).toEqual({ connections: null });
});
