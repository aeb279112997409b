import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "#system";
import { fakeDescriptor } from "../testing/fake-descriptor.ts";
import { readCluster } from "./cluster.ts";

/** What each member's Patroni answers by path; null: nothing, ever. */
type Answers = Record<string, unknown>;
const answers: [Answers | null, Answers | null] = [{}, {}];
const servers: Server[] = [];
const descriptor = fakeDescriptor();
let folder: string;
let authority: string;

/** A certificate for 127.0.0.1 that signs itself; OpenSSL is there wherever PostgreSQL is. */
async function makeCertificate(name: string): Promise<{ key: string; certificate: string }> {
  const files = { key: join(folder, `${name}.key`), certificate: join(folder, `${name}.crt`) };
  const options = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=${name} -addext subjectAltName=IP:127.0.0.1`;
  const args = [...options.split(" "), "-keyout", files.key, "-out", files.certificate];
  await run("openssl", args);
  return {
    key: readFileSync(files.key, "utf8"),
    certificate: readFileSync(files.certificate, "utf8"),
  };
}

beforeAll(async () => {
  folder = mkdtempSync("/tmp/ctm-cluster-");
  const { key, certificate } = await makeCertificate("patroni");
  authority = certificate;
  for (const [index, member] of descriptor.postgres.members.entries()) {
    const server = createServer({ key, cert: certificate }, (request, response) => {
      const own = answers[index === 0 ? 0 : 1];
      if (own === null) return;
      response.end(JSON.stringify(own[request.url ?? ""] ?? {}));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address !== null && typeof address === "object") member.rest.port = address.port;
    servers.push(server);
  }
});
afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true });
});

const shared = {
  members: [
    { name: "node-1", role: "leader", state: "running" },
    { name: "node-2", role: "sync_standby", state: "running" },
  ],
};
const leader = {
  state: "running",
  role: "master",
  timeline: 7,
  server_version: 150018,
  xlog: { location: 5000 },
  replication: [{ application_name: "node-2", state: "streaming", sync_state: "sync" }],
};
const replica = {
  state: "running",
  role: "replica",
  timeline: 7,
  server_version: 150018,
  xlog: { received_location: 4900, replayed_location: 4800 },
};

test("roles come from etcd, streaming from the leader, lag from both", async () => {
  answers[0] = { "/patroni": leader, "/cluster": shared };
  answers[1] = { "/patroni": replica, "/cluster": { ...shared, pause: true } };
  const facts = await readCluster(descriptor, authority, { timeoutMs: 2_000 });
  expect(facts).toMatchObject({ leader: "node-1", version: "15.18" });
  expect(facts.members).toEqual([
    {
      name: "node-1",
      role: "leader",
      state: "running",
      timeline: 7,
      lagBytes: null,
      unreachable: null,
    },
    {
      name: "node-2",
      role: "sync_standby",
      state: "streaming",
      timeline: 7,
      lagBytes: 200,
      unreachable: null,
    },
  ]);
});

test("a member that never answers costs its deadline, and the other one tells what it knows", async () => {
  answers[0] = null;
  answers[1] = { "/patroni": replica, "/cluster": { members: [shared.members[1]], pause: true } };
  const facts = await readCluster(descriptor, authority, { timeoutMs: 300 });
  expect(facts).toMatchObject({ leader: null, paused: true, version: "15.18" });
  expect(facts.members).toEqual([
    {
      name: "node-1",
      role: null,
      state: null,
      timeline: null,
      lagBytes: null,
      unreachable: "no answer within 0.3 s",
    },
    {
      name: "node-2",
      role: "sync_standby",
      state: "running",
      timeline: 7,
      lagBytes: null,
      unreachable: null,
    },
  ]);
});

test("a server that the stack's CA did not sign is not believed", async () => {
  answers[0] = { "/patroni": leader, "/cluster": shared };
  answers[1] = answers[0];
  const other = (await makeCertificate("other")).certificate;
  const facts = await readCluster(descriptor, other, { timeoutMs: 2_000 });
  expect(facts.leader).toBeNull();
  expect(facts.members.map(({ unreachable }) => unreachable)).toEqual([
    "self-signed certificate",
    "self-signed certificate",
  ]);
});

test("an answer that is not Patroni's is no fact", async () => {
  answers[0] = { "/patroni": { hello: 1 }, "/cluster": { hello: 1 } };
  answers[1] = answers[0];
  const { members, paused } = await readCluster(descriptor, authority, { timeoutMs: 2_000 });
  expect(paused).toBeNull();
  expect(members[0]?.unreachable).toBe("the answer is not Patroni's");
});
