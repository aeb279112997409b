import { generateKeyPairSync, sign, verify, type KeyObject } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

/** What a token says of whom it is for; a claim set to undefined is left out. */
export type Claims = Readonly<Record<string, unknown>>;

interface SigningKey {
  kid: string;
  privateKey: KeyObject;
  publicKey: KeyObject;
}

/**
 * A Zero Trust team that signs Access tokens: RS256, certificates at an endpoint of its own, and
 * keys that are rotated, as https://TEAM.cloudflareaccess.com does.
 */
export class AccessTeam {
  /** `https://NAME.cloudflareaccess.com`: what its tokens say; nothing is fetched from there. */
  readonly issuer: string;
  #keys: [SigningKey, ...SigningKey[]];
  #made = 0;
  readonly #server: Server;

  private constructor(name: string, server: Server) {
    this.issuer = `https://${name}.cloudflareaccess.com`;
    this.#server = server;
    this.#keys = [this.#makeKey()];
  }

  static async start(name: string): Promise<AccessTeam> {
    const server = createServer((request, response) => {
      response.writeHead(request.url === "/cdn-cgi/access/certs" ? 200 : 404);
      response.end(request.url === "/cdn-cgi/access/certs" ? team.#certificates() : "");
    });
    const team = new AccessTeam(name, server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return team;
  }

  /** Where the certificates really are. */
  get certificatesUrl(): string {
    // A listening TCP server has an address of this kind.
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}/cdn-cgi/access/certs`;
  }

  /** Signs with a new key from now on; the one before is still published, older ones are not. */
  rotateKeys(): void {
    this.#keys = [this.#makeKey(), this.#keys[0]];
  }

  /** Publishes the newest key only, as after a leak. */
  forgetOldKeys(): void {
    this.#keys = [this.#keys[0]];
  }

  /** A token for an audience, valid for a minute around now, unless the claims say otherwise. */
  sign(audience: string, claims: Claims = {}, header: Claims = {}): string {
    const seconds = Math.floor(Date.now() / 1000);
    const [{ kid, privateKey }] = this.#keys;
    const text = [
      { alg: "RS256", typ: "JWT", kid, ...header },
      {
        aud: [audience],
        iss: this.issuer,
        iat: seconds,
        nbf: seconds,
        exp: seconds + 60,
        type: "app",
        ...claims,
      },
    ]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    return `${text}.${sign("RSA-SHA256", Buffer.from(text), privateKey).toString("base64url")}`;
  }

  /** The claims of a token that this team signed for an audience, if it is one and still valid. */
  read(token: string, audience: string): Claims | undefined {
    const [head = "", body = "", signature = ""] = token.split(".");
    const { publicKey } = this.#keys.find(({ kid }) => kid === parse(head)?.["kid"]) ?? {};
    const signed =
      publicKey !== undefined &&
      verify(
        "RSA-SHA256",
        Buffer.from(`${head}.${body}`),
        publicKey,
        Buffer.from(signature, "base64url"),
      );
    const claims = signed ? parse(body) : undefined;
    const isCurrent = Number(claims?.["exp"]) * 1000 > Date.now();
    return isCurrent && String(claims?.["aud"]) === audience ? claims : undefined;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #makeKey(): SigningKey {
    this.#made += 1;
    return {
      kid: `${this.#made}`.padStart(8, "k"),
      ...generateKeyPairSync("rsa", { modulusLength: 2048 }),
    };
  }

  #certificates(): string {
    return JSON.stringify({
      keys: this.#keys.map(({ kid, publicKey }) => ({
        ...publicKey.export({ format: "jwk" }),
        kid,
        alg: "RS256",
        use: "sig",
      })),
    });
  }
}

function parse(part: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
