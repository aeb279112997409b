import { startS3Server, type S3Server } from "../e2e/s3-server.ts";
import { startTlsProxy, type TlsProxy } from "./tls-proxy.ts";

/** A real S3 server in another region: it can be closed, and opened again as it was. */
export class FarPlace {
  /** Keys that must be found nowhere but where they belong. */
  static readonly keys = { access: "AKIAFARCOPY", secret: "secret-of-the-far-copy" };
  readonly region: TlsProxy;
  readonly #server: S3Server;

  private constructor(server: S3Server, region: TlsProxy) {
    this.#server = server;
    this.region = region;
  }

  static async start(...buckets: readonly string[]): Promise<FarPlace> {
    const server = await startS3Server();
    const place = new FarPlace(server, await startTlsProxy(server.endpoint));
    for (const bucket of buckets) {
      const made = await fetch(`${server.endpoint}/${bucket}`, { method: "PUT" });
      if (!made.ok) throw new Error(`the bucket was not made: ${made.status}`);
    }
    return place;
  }

  /** The value of `ctm:farRepository`. */
  repository(bucket: string): Record<string, string> {
    const { endpoint, authority } = this.region;
    return { endpoint, region: "us-east-1", bucket, authority };
  }

  /** What a person types in a clone for a stack that is copied there. */
  configuration(bucket: string): string {
    const { access, secret } = FarPlace.keys;
    return `eval "$(npx ctm env)"
      pulumi config set ctm:farRepository '${JSON.stringify(this.repository(bucket))}'
      pulumi config set --secret ctm:farAccessKey ${access}
      pulumi config set --secret ctm:farSecretKey ${secret}
      pulumi config set ctm:memory 256MB`;
  }

  async stop(): Promise<void> {
    await this.region.stop();
    await this.#server.stop();
  }
}
