import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { temporaryFolder } from "../../provider/testing/temporary.ts";
import { issueAuthority, issueCertificate } from "../../tls/certificates.ts";
import type { PatroniEndpoint } from "../patroni.ts";

/** One member as Patroni's REST API shows it. */
export interface FakeMember {
  role: string;
  state: string;
  pending_restart?: boolean;
}

/** Patroni's REST API of a cluster that is what a test says. */
export interface FakePatroni {
  folder: string;
  endpoints: Record<string, PatroniEndpoint>;
  credentialsPath: string;
  members: Record<string, FakeMember>;
  configuration: Record<string, unknown>;
  /** What changed something, such as "PUT /config" and "POST /restart m2", in order. */
  writes: string[];
  /** False for members that do not answer. */
  answers: Record<string, boolean>;
  /** What happens when the cluster has been looked at so many times more. */
  later: { looks: number; happens: () => void } | undefined;
  stop(): Promise<void>;
}

const credentials = "ctm:the-password-of-the-rest-api";

export async function startFakePatroni(members: Record<string, FakeMember>): Promise<FakePatroni> {
  const folder = await temporaryFolder("patroni");
  const authority = await issueAuthority("ctm test", 30);
  const subject = { commonName: "server", dnsNames: [], ipAddresses: ["127.0.0.1"] };
  const issued = await issueCertificate(authority, { ...subject, usages: ["server"] }, 30);
  await writeFile(join(folder, "ca.crt"), authority.certificatePem);
  await writeFile(join(folder, "patroni-rest"), `${credentials}\n`);
  const servers: Server[] = [];
  const fake: FakePatroni = {
    folder,
    endpoints: {},
    credentialsPath: join(folder, "patroni-rest"),
    members,
    configuration: {},
    writes: [],
    answers: {},
    later: undefined,
    stop: async () => {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
  for (const name of Object.keys(members)) {
    const server = createServer({ cert: issued.certificatePem, key: issued.keyPem });
    server.on("request", (request, response) => {
      let body = "";
      request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      request.on("end", () => {
        const call = `${request.method} ${request.url}`;
        if (fake.answers[name] === false) {
          request.socket.destroy();
          return;
        }
        const [status, answer] = answerOf(fake, name, call, request.headers.authorization, body);
        response.writeHead(status, { "content-type": "application/json" });
        response.end(JSON.stringify(answer));
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    servers.push(server);
    const { port } = server.address() as AddressInfo;
    fake.endpoints[name] = { host: "127.0.0.1", port, authority: join(folder, "ca.crt") };
  }
  return fake;
}

/** As https://patroni.readthedocs.io/en/latest/rest_api.html says. */
function answerOf(
  fake: FakePatroni,
  name: string,
  call: string,
  authorization: string | undefined,
  body: string,
): [status: number, answer: unknown] {
  const isOurs = authorization === `Basic ${Buffer.from(credentials).toString("base64")}`;
  if (!call.startsWith("GET ") && !isOurs) return [401, "no auth header received"];
  const member = fake.members[name];
  switch (call) {
    case "GET /cluster":
      if (fake.later !== undefined && (fake.later.looks -= 1) < 0) {
        fake.later.happens();
        fake.later = undefined;
      }
      return [
        200,
        { members: Object.entries(fake.members).map(([one, view]) => ({ name: one, ...view })) },
      ];
    case "GET /patroni":
      return [
        member?.state === "running" || member?.state === "streaming" ? 200 : 503,
        {
          ...member,
          server_version: 150018,
          timeline: 1,
          database_system_identifier: "7300000000000000001",
        },
      ];
    case "GET /config":
      return [200, fake.configuration];
    case "PUT /config":
      fake.writes.push(call);
      fake.configuration = JSON.parse(body) as Record<string, unknown>;
      return [200, fake.configuration];
    case "POST /restart":
      fake.writes.push(`${call} ${name}`);
      if (member !== undefined) delete member.pending_restart;
      return [200, "restarted successfully"];
    default:
      return [404, "not found"];
  }
}
