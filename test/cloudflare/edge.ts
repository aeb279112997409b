import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect as connectHttp2, type ClientHttp2Session } from "node:http2";
import {
  createServer as createTcpServer,
  type AddressInfo,
  type Server as TcpServer,
  type Socket,
} from "node:net";
import type { EdgeRequest, Verdict } from "../../infra/cloudflare/rules/index.ts";
import type { AccessTeam, Claims } from "./access-team.ts";

/** An Access policy, as Cloudflare's API has it, as far as ours use it. */
export interface AccessPolicy {
  decision: string;
  include: readonly AccessSelector[];
  exclude?: readonly AccessSelector[];
}

interface AccessSelector {
  everyone?: object;
  email_domain?: { domain: string };
  service_token?: { token_id: string };
  geo?: { country_code: string };
}

export interface EdgeSettings {
  hostname: string;
  team: AccessTeam;
  /** The Access application before the hostname. */
  application: { audience: string; policies: readonly AccessPolicy[] };
  /** Service tokens by client id. */
  serviceTokens: Readonly<Record<string, { id: string; secret: string }>>;
  /** What the zone's rules do with a request. */
  inspect(request: EdgeRequest): Verdict;
  /** The configuration of a tunnel by its token; undefined for a token that is none. */
  ingressOf(token: string): readonly { hostname?: string; service: string }[] | undefined;
}

/**
 * Plays Cloudflare's edge: rules first, then Access, then the tunnel, in Cloudflare's order. What
 * the client claims to have from Access is thrown away, and what Access itself says is added.
 */
export class Edge {
  /** May be changed while the edge runs, as an update of the zone changes it. */
  settings: EdgeSettings;
  readonly #public: Server;
  readonly #tunnels: TcpServer;
  readonly #connections = new Map<Socket, { token: string; session: ClientHttp2Session }>();
  readonly #locations = new Map<string, { country: string; asn: number }>();

  private constructor(settings: EdgeSettings) {
    this.settings = settings;
    this.#public = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        if (!response.headersSent) response.writeHead(520);
        response.end(String(error));
      });
    });
    this.#tunnels = createTcpServer((socket) => this.#register(socket));
  }

  static async start(settings: EdgeSettings): Promise<Edge> {
    const edge = new Edge(settings);
    for (const server of [edge.#public, edge.#tunnels]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    return edge;
  }

  /** Where clients come in, on every address of the loopback network. */
  get port(): number {
    return portOf(this.#public);
  }

  /** `HOST:PORT` where cloudflared comes in. */
  get tunnelAddress(): string {
    return `127.0.0.1:${portOf(this.#tunnels)}`;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Where an address is in the world, as the edge sees it; others are in Germany. */
  locate(address: string, place: { country: string; asn: number }): void {
    this.#locations.set(address, place);
  }

  /** The cookie of a person who has logged in with this email address. */
  login(email: string): string {
    return `CF_Authorization=${this.settings.team.sign(this.settings.application.audience, { email })}`;
  }

  /** Ends the connections of a token, as when it is revoked. */
  disconnect(token: string): void {
    for (const [socket, connection] of this.#connections) {
      if (connection.token === token) socket.destroy();
    }
  }

  async stop(): Promise<void> {
    for (const socket of this.#connections.keys()) socket.destroy();
    this.#public.closeAllConnections();
    await new Promise((resolve) => this.#public.close(resolve));
    await new Promise((resolve) => this.#tunnels.close(resolve));
  }

  #register(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    let text = "";
    const read = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (!text.endsWith("\n")) return;
      socket.off("data", read);
      const { token } = JSON.parse(text) as { token: string };
      const ingress = this.settings.ingressOf(token);
      if (ingress === undefined) {
        socket.end(`${JSON.stringify({ error: "Unauthorized: Invalid tunnel secret" })}\n`);
        return;
      }
      socket.write(`${JSON.stringify({ ingress })}\n`);
      const session = connectHttp2("http://tunnel", { createConnection: () => socket });
      session.on("error", () => socket.destroy());
      this.#connections.set(socket, { token, session });
      socket.once("close", () => this.#connections.delete(socket));
    };
    socket.on("data", read);
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(incoming);
    const request = this.#seen(incoming, body);
    if (request.host !== this.settings.hostname) return void response.writeHead(409).end();
    const verdict = this.settings.inspect(request);
    if (verdict.action !== "allow") {
      const limited = verdict.ref?.startsWith("ctm-limit") === true;
      response.writeHead(limited ? 429 : 403, { "x-edge-rule": verdict.ref ?? "" });
      return void response.end(`blocked: ${verdict.action}`);
    }
    const identity = this.#identify(incoming, request.country);
    if (identity === undefined) {
      const asProgram = incoming.headers["cf-access-client-id"] !== undefined;
      response.writeHead(asProgram ? 403 : 302, {
        "x-edge-rule": "access",
        ...(asProgram ? {} : { location: `${this.settings.team.issuer}/cdn-cgi/access/login` }),
      });
      return void response.end();
    }
    await this.#forward(incoming, body, identity, response);
  }

  #seen(incoming: IncomingMessage, body: Buffer): EdgeRequest {
    const [path = "", ...query] = (incoming.url ?? "").split("?");
    const ip = incoming.socket.remoteAddress ?? "";
    const headers: Record<string, string | string[]> = {};
    for (const [name, values] of Object.entries(incoming.headersDistinct)) {
      if (values !== undefined) headers[name] = values.length === 1 ? (values[0] ?? "") : values;
    }
    return {
      method: incoming.method ?? "",
      host: incoming.headers.host ?? "",
      path,
      query: query.join("?"),
      headers,
      body,
      ip,
      ...(this.#locations.get(ip) ?? { country: "DE", asn: 64_496 }),
      scheme: "https",
      time: Date.now(),
    };
  }

  /** The claims that Access makes for whoever this is; undefined when no policy lets them in. */
  #identify({ headers }: IncomingMessage, country: string): Claims | undefined {
    const { team, application, serviceTokens } = this.settings;
    const clientId = String(headers["cf-access-client-id"] ?? "");
    const found = Object.hasOwn(serviceTokens, clientId) ? serviceTokens[clientId] : undefined;
    const tokenId =
      found?.secret === headers["cf-access-client-secret"] ? (found?.id ?? null) : null;
    const cookie = /(?:^|; )CF_Authorization=([^;]+)/.exec(headers.cookie ?? "")?.[1];
    const email = team.read(cookie ?? "", application.audience)?.["email"];
    const matches = (selector: AccessSelector): boolean =>
      selector.everyone !== undefined ||
      (selector.service_token !== undefined && selector.service_token.token_id === tokenId) ||
      (selector.email_domain !== undefined &&
        typeof email === "string" &&
        email.endsWith(`@${selector.email_domain.domain}`)) ||
      selector.geo?.country_code === country;
    const hit = application.policies.filter(
      ({ include, exclude = [] }) => include.some(matches) && !exclude.some(matches),
    );
    if (hit.some(({ decision }) => decision === "bypass")) return {};
    // Service tokens come before everything else, whatever the order of the policies.
    if (tokenId !== null && hit.some(({ decision }) => decision === "non_identity")) {
      return { common_name: clientId, sub: "" };
    }
    const [first] = hit.filter(({ decision }) => decision !== "non_identity");
    if (first?.decision === "allow" && typeof email === "string") return { email };
    return undefined;
  }

  async #forward(
    incoming: IncomingMessage,
    body: Buffer,
    identity: Claims,
    response: ServerResponse,
  ): Promise<void> {
    const { session } = [...this.#connections.values()].at(0) ?? {};
    if (session === undefined) {
      // Cloudflare's answer where no cloudflared is connected (error 1033).
      return void response.writeHead(530).end("error code: 1033");
    }
    const address = incoming.socket.remoteAddress ?? "";
    const earlier = incoming.headers["x-forwarded-for"];
    const stream = session.request(
      {
        ...Object.fromEntries(
          Object.entries(incoming.headers).filter(([name]) => !dropped.test(name)),
        ),
        ":method": incoming.method ?? "",
        ":path": incoming.url ?? "",
        ":authority": this.settings.hostname,
        "cf-access-jwt-assertion": this.settings.team.sign(
          this.settings.application.audience,
          identity,
        ),
        "cf-connecting-ip": address,
        // Cloudflare appends to what the client sent.
        "x-forwarded-for": earlier === undefined ? address : `${String(earlier)}, ${address}`,
      },
      { endStream: body.length === 0 },
    );
    if (body.length > 0) stream.end(body);
    await new Promise<void>((resolve, reject) => {
      stream.once("response", (headers) => {
        const { ":status": status = 502, ...rest } = headers;
        response.writeHead(status, rest as Record<string, string>);
        stream.pipe(response);
      });
      stream.once("error", reject);
      response.once("close", resolve);
    });
  }
}

/** What does not go through: of this connection only, or for the edge to say. */
const dropped =
  /^(connection|keep-alive|transfer-encoding|upgrade|host|cf-access-.*|cf-connecting-ip|x-forwarded-for)$/;

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function portOf(server: Server | TcpServer): number {
  // A listening TCP server has an address of this kind.
  return (server.address() as AddressInfo).port;
}
