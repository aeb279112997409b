import { z } from "zod";
import { CtmError, messageOf, parseJson } from "#system";

const cloudflareUrl = "https://api.cloudflare.com/client/v4";
const callMs = 15_000;
/** More than any account of one stack holds; a list without end is a defect. */
const mostPages = 50;
const pageSize = 50;

const envelope = z.looseObject({
  success: z.boolean(),
  errors: z.array(z.looseObject({ code: z.int(), message: z.string() })).nullish(),
  result: z.unknown(),
  result_info: z
    .looseObject({
      per_page: z.int().optional(),
      total_count: z.int().optional(),
      total_pages: z.int().optional(),
    })
    .nullish(),
});

export interface ClientOptions {
  token: string;
  /** Instead of Cloudflare's own: `http://HOST:PORT/client/v4`. */
  baseUrl: string | undefined;
  signal: AbortSignal;
}

/**
 * Cloudflare's API, as far as commands ask it: one attempt a call, and the token in no message.
 * Every call throws CtmError `cloudflare-denied`, `cloudflare-busy`, `cloudflare-refused`,
 * `cloudflare-unreachable` or `cloudflare-unreadable`.
 */
export class CloudflareClient {
  readonly #options: ClientOptions;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** What is there; undefined where there is none. */
  async find<T>(path: string, shape: z.ZodType<T>): Promise<T | undefined> {
    const answer = await this.#call("GET", path);
    return answer === undefined ? undefined : read(path, shape, answer.result);
  }

  /** Every entry of a list, over all pages. */
  async list<T>(
    path: string,
    shape: z.ZodType<T>,
    query: Readonly<Record<string, string>> = {},
  ): Promise<T[]> {
    const entries: T[] = [];
    for (let page = 1; page <= mostPages; page++) {
      const parameters = new URLSearchParams({
        ...query,
        page: String(page),
        per_page: String(pageSize),
      });
      const answer = await this.#call("GET", `${path}?${parameters.toString()}`);
      const found = read(path, z.array(shape), answer?.result ?? []);
      entries.push(...found);
      const { total_pages, total_count, per_page } = answer?.result_info ?? {};
      // Some lists, tunnels among them, tell the number of entries and not that of pages.
      const pages = total_pages ?? Math.ceil((total_count ?? 0) / (per_page ?? pageSize));
      if (page >= pages || found.length === 0) return entries;
    }
    throw new CtmError("cloudflare-unreadable", `${path} has more than ${mostPages} pages`);
  }

  async patch<T>(path: string, body: object, shape: z.ZodType<T>): Promise<T> {
    const answer = await this.#call("PATCH", path, body);
    if (answer === undefined) {
      throw new CtmError("cloudflare-refused", `${path} does not exist`, { next: "npm run up" });
    }
    return read(path, shape, answer.result);
  }

  /** Succeeds when it is gone already. */
  async delete(path: string): Promise<void> {
    await this.#call("DELETE", path);
  }

  /** Undefined for 404. */
  async #call(
    method: "GET" | "PATCH" | "DELETE",
    path: string,
    body?: object,
  ): Promise<z.infer<typeof envelope> | undefined> {
    const { token, baseUrl, signal } = this.#options;
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${baseUrl ?? cloudflareUrl}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        // A redirect would carry the token to wherever it leads.
        redirect: "error",
        signal: AbortSignal.any([signal, AbortSignal.timeout(callMs)]),
      });
      text = await response.text();
    } catch (error) {
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
      throw new CtmError(
        "cloudflare-unreachable",
        `${baseUrl ?? cloudflareUrl} does not answer: ${messageOf(cause)}`,
        { next: "look at this machine's way to the internet, and at cloudflarestatus.com" },
      );
    }
    if (response.status === 404) return undefined;
    const parsed = envelope.safeParse(parseJson(text));
    const said = (parsed.data?.errors ?? []).map(({ code, message }) => `${code} ${message}`);
    const what = `${method} ${path}: ${[response.status, ...said].join(" ")}`;
    switch (response.status) {
      case 401:
      case 403:
        throw new CtmError("cloudflare-denied", what, {
          next: "docs/first-deploy.md lists what the API token must be allowed",
        });
      case 429:
        throw new CtmError("cloudflare-busy", what, { next: "try again in five minutes" });
    }
    if (!response.ok || parsed.data?.success !== true) {
      throw new CtmError("cloudflare-refused", what, { next: "cloudflarestatus.com" });
    }
    return parsed.data;
  }
}

function read<T>(path: string, shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new CtmError(
    "cloudflare-unreadable",
    `${path} answers something else than it should: ${issues.slice(0, 3).join("; ")}`,
  );
}
