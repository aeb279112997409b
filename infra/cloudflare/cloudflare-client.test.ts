import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { z } from "zod";
import { CloudflareClient } from "./cloudflare-client.ts";

const entries = Array.from({ length: 120 }, (_, index) => ({ id: String(index) }));

it.each([
  ["pages", { total_pages: 3 }],
  ["entries", { total_count: entries.length, per_page: 50 }],
])("reads every page of a list that tells its number of %s", async (_what, info) => {
  const server = createServer(({ url = "/" }, response) => {
    const query = new URL(url, "http://localhost").searchParams;
    const size = Number(query.get("per_page"));
    const first = (Number(query.get("page")) - 1) * size;
    response.end(
      JSON.stringify({
        success: true,
        errors: [],
        result: entries.slice(first, first + size),
        result_info: info,
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const client = new CloudflareClient({
      token: "t",
      baseUrl: `http://127.0.0.1:${port}`,
      signal: AbortSignal.timeout(10_000),
    });
    expect(await client.list("/list", z.looseObject({ id: z.string() }))).toEqual(entries);
  } finally {
    server.close();
  }
});
