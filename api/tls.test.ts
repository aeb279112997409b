import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startScratchServer, type ScratchServer } from "#database";
import { parseConfiguration } from "./src/config.ts";
import { openPools } from "./src/pools.ts";
import { isConnected } from "./src/queries/connected.ts";
import { startRelay } from "./testing/relay.ts";
import { makeAuthority, startTlsRelay, type TestAuthority } from "./testing/tls-relay.ts";

let server: ScratchServer;
let socketDirectory: string;
let folder: string;
let authority: TestAuthority;
let stranger: TestAuthority;

beforeAll(async () => {
  [server, authority, stranger, folder] = await Promise.all([
    startScratchServer(),
    makeAuthority(),
    makeAuthority(),
    mkdtemp(join(tmpdir(), "ctm-api-tls-")),
  ]);
  socketDirectory = server.connection.host ?? "";
  await writeFile(join(folder, "ours"), authority.certificate);
  await writeFile(join(folder, "other"), stranger.certificate);
  await writeFile(join(folder, "password"), String(server.connection.password), { mode: 0o600 });
});
afterAll(async () => {
  await Promise.all([server.stop(), authority.remove(), stranger.remove()]);
  await rm(folder, { recursive: true });
});

/** Whether the pools connect to this server when they trust that authority. */
async function connects(
  address: { host: string; port: number },
  trusted: "ours" | "other",
): Promise<boolean> {
  const role = { user: "postgres", passwordFile: join(folder, "password") };
  const pools = await openPools(
    parseConfiguration(
      {
        listen: address,
        admin: address,
        database: {
          name: "postgres",
          authority: join(folder, trusted),
          primary: address,
          readonly: address,
          ...role,
        },
        query: role,
      },
      "test",
    ),
    () => undefined,
  );
  try {
    const all = [pools.named.primary, pools.named.readonly, pools.query.primary];
    const answers = await Promise.all(all.map(isConnected));
    expect(new Set(answers).size).toBe(1);
    return answers[0] === true;
  } finally {
    await pools.end();
  }
}

test.each<[string, string, string, "ours" | "other", boolean]>([
  ["a name in it is accepted", "DNS:localhost", "localhost", "ours", true],
  ["an address in it is accepted", "IP:127.0.0.1", "127.0.0.1", "ours", true],
  ["another name is refused", "DNS:db.example", "localhost", "ours", false],
  ["another address is refused", "IP:127.0.0.2", "127.0.0.1", "ours", false],
  ["a name for an address is refused", "DNS:localhost", "127.0.0.1", "ours", false],
  ["another authority is refused", "DNS:localhost", "localhost", "other", false],
])("a server's certificate with %s", async (_what, names, host, trusted, expected) => {
  const relay = await startTlsRelay(socketDirectory, await authority.issue(names));
  try {
    expect(await connects({ host, port: relay.port }, trusted)).toBe(expected);
  } finally {
    await relay.stop();
  }
});

test("a server without TLS is refused", async () => {
  const relay = await startRelay(socketDirectory);
  try {
    expect(await connects({ host: "127.0.0.1", port: relay.port }, "ours")).toBe(false);
  } finally {
    await relay.stop();
  }
});
