import { z } from "zod";

/** What Cloudflare answered, when it is no success. */
export class ApiError extends Error {
  readonly status: number;

  constructor(method: string, path: string, status: number, text: string) {
    super(`${method} "${path}": ${status} ${text}`);
    this.status = status;
  }
}

const envelope = z.looseObject({ success: z.boolean(), result: z.unknown() });

/** Calls as the official provider makes them: its headers, one after the other for one resource. */
export class CloudflareClient {
  readonly #baseUrl: string;
  readonly #token: string;

  constructor(baseUrl: string, token: string) {
    this.#baseUrl = baseUrl;
    this.#token = token;
  }

  /** The answer's result; undefined where it has none. */
  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<unknown> {
    const response = await fetch(`${this.#baseUrl}${path}`, {
      method,
      headers: {
        accept: "application/json",
        authorization: `Bearer ${this.#token}`,
        "content-type": "application/json",
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new ApiError(method, path, response.status, text);
    return text === "" ? undefined : envelope.parse(JSON.parse(text)).result;
  }
}
