import { request as requestPlain, type IncomingHttpHeaders } from "node:http";
import { request as requestSecure } from "node:https";
import { connect as connectTls, type SecureVersion } from "node:tls";

/** One harmless request, as a client would send it. */
export interface ProbeRequest {
  method?: string;
  /** Sent as it is. */
  path: string;
  headers?: Readonly<Record<string, string>>;
}

export interface ProbeAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  /** Its first characters. */
  text: string;
}

const probeMs = 10_000;
const longestText = 4_000;

/**
 * Sends one request for a hostname to wherever the URL leads; no redirect is followed.
 *
 * @throws Error with a short reason when there is no answer
 */
export async function send(
  url: URL,
  hostname: string,
  { method = "GET", path, headers = {} }: ProbeRequest,
  signal: AbortSignal,
): Promise<ProbeAnswer> {
  const secure = url.protocol === "https:";
  const deadline = AbortSignal.timeout(probeMs);
  const options = {
    method,
    path,
    headers: { host: hostname, ...headers },
    agent: false,
    signal: AbortSignal.any([signal, deadline]),
    ...(secure ? { servername: hostname } : {}),
  };
  return await new Promise((resolve, reject) => {
    const request = (secure ? requestSecure : requestPlain)(url, options);
    request.once("error", (error) =>
      reject(deadline.aborted ? new Error(`no answer within ${probeMs / 1000} s`) : error),
    );
    request.once("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        if (text.length < longestText) text += part.slice(0, longestText - text.length);
      });
      response.once("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
      response.once("error", reject);
    });
    request.end();
  });
}

/** Whether the server agrees to exactly this version of TLS. */
export async function speaksTls(
  url: URL,
  hostname: string,
  version: SecureVersion,
): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connectTls({
      host: url.hostname,
      port: Number(url.port === "" ? 443 : url.port),
      servername: hostname,
      minVersion: version,
      maxVersion: version,
      // OpenSSL itself refuses versions before 1.2 at any higher level.
      ciphers: "DEFAULT@SECLEVEL=0",
      timeout: probeMs,
    });
    const settle = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("secureConnect", () => settle(true));
    socket.once("timeout", () => settle(false));
    socket.once("error", () => settle(false));
  });
}
