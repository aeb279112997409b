import { request as requestPlain } from "node:http";
import { request as requestSecure } from "node:https";

export interface HttpAnswer {
  status: number;
  text: string;
}

/**
 * One GET, within a deadline.
 *
 * @param authority PEM of the only CA that may have signed an https server
 * @throws Error with a short reason: refused, no answer in time, a certificate of somebody else
 */
export async function httpGet(
  url: URL,
  options: { timeoutMs: number; authority?: string; signal?: AbortSignal },
): Promise<HttpAnswer> {
  const { timeoutMs, authority } = options;
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal =
    options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
  const send = url.protocol === "https:" ? requestSecure : requestPlain;
  return await new Promise<HttpAnswer>((resolve, reject) => {
    const request = send(url, { signal, agent: false, ...(authority && { ca: authority }) });
    request.on("error", (error) => {
      reject(deadline.aborted ? new Error(`no answer within ${timeoutMs / 1000} s`) : error);
    });
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => (text += part));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
      response.on("error", reject);
    });
    request.end();
  });
}
