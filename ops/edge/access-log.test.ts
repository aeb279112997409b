import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { readAccessLog } from "./access-log.ts";

let folder: string;
const never = new AbortController().signal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "ctm-access-log-"));
});

afterEach(async () => rm(folder, { recursive: true }));

async function read(...lines: (object | string)[]): Promise<unknown> {
  const path = join(folder, "log");
  const text = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line)));
  await writeFile(path, `${text.join("\n")}\n`);
  return await readAccessLog(path, never);
}

const time = "2026-11-24T12:00:01.250Z";
const request = {
  time: Date.parse(time),
  method: "GET",
  path: "/api/database/tasks",
  address: "203.0.113.7",
};

test.each([
  [
    "the API's own log",
    {
      level: "info",
      time,
      service: "ctm-api",
      method: "GET",
      endpoint: "/api/database/tasks",
      status: 200,
      address: "203.0.113.7",
      msg: "answered",
    },
  ],
  [
    "rows of api_access_logs",
    {
      created_at: "2026-11-24T12:00:01.25+00:00",
      method: "GET",
      endpoint: "/api/database/tasks",
      ip_address: "203.0.113.7",
      response_status: 200,
    },
  ],
  [
    "Cloudflare's Logpush",
    {
      EdgeStartTimestamp: Date.parse(time) * 1e6,
      ClientRequestMethod: "GET",
      ClientRequestPath: "/api/database/tasks",
      ClientIP: "203.0.113.7",
    },
  ],
])("%s is read", async (_, line) => {
  expect(await read(line)).toEqual({ requests: [request], otherLines: 0 });
});

test("requests come in the order of their times, other lines are counted", async () => {
  const line = (at: string) => ({ time: at, method: "GET", endpoint: "/", address: "192.0.2.1" });
  const late = "2026-11-24T12:00:02.000Z";
  expect(await read(line(late), { time, msg: "listening" }, "", "half a li", line(time))).toEqual({
    requests: [
      { time: Date.parse(time), method: "GET", path: "/", address: "192.0.2.1" },
      { time: Date.parse(late), method: "GET", path: "/", address: "192.0.2.1" },
    ],
    otherLines: 2,
  });
});

test("a file of something else, or none, is told", async () => {
  await expect(read("127.0.0.1 - - GET /")).rejects.toMatchObject({ code: "log-unreadable" });
  await expect(readAccessLog(join(folder, "none"), never)).rejects.toMatchObject({
    code: "no-log",
  });
  await expect(readAccessLog(folder, never)).rejects.toMatchObject({ code: "log-unreadable" });
});
