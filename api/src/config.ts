import { access, constants, readFile } from "node:fs/promises";
import { z } from "zod";
import { CtmError, messageOf } from "#system";

const host = z.string().min(1);
const target = z.strictObject({ host, port: z.int().min(1).max(65535) });
/** Port 0 takes any free one; the log line "listening" tells which. */
const listener = z.strictObject({ host, port: z.int().min(0).max(65535) });
const file = z.string().startsWith("/", "must be an absolute path");
const milliseconds = z.int().min(1).max(3_600_000);

/** `min` connections stay open, `max` is never exceeded. */
const size = z
  .strictObject({ min: z.int().min(0).max(100), max: z.int().min(1).max(100) })
  .refine((pool) => pool.min <= pool.max, "min must not be above max");

const configuration = z.strictObject({
  /** Where clients connect. */
  listen: listener,
  /** Where /live, /ready and /metrics are; never reachable from outside. */
  admin: listener,
  /** Addresses or CIDR ranges of proxies whose X-Forwarded-For is believed. */
  trustedProxies: z.array(z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()])).default([]),
  /** Becomes `app.current_environment` in every transaction. */
  environment: z.enum(["development", "staging", "production", "testing"]).default("production"),
  logLevel: z.enum(["fatal", "error", "warn", "info", "debug", "silent"]).default("info"),
  database: z.strictObject({
    name: z.string().min(1),
    /** PEM of the CA that signs the servers' certificates (verify-full); null: no TLS. */
    authority: file.nullable(),
    /** Where the current primary answers (the proxy's read-write port). */
    primary: target,
    /** Where a replica answers (the proxy's read-only port). */
    readonly: target,
    user: z.string().min(1),
    /** Read again for each new connection, so a rotated password needs no restart. */
    passwordFile: file,
  }),
  /** The role of POST /query: it may only read, and only what is harmless. */
  query: z.strictObject({ user: z.string().min(1), passwordFile: file }),
  pools: z
    .strictObject({
      /** Tasks: reads and writes. */
      primary: size.default({ min: 2, max: 10 }),
      /** Metrics: on a replica. */
      readonly: size.default({ min: 1, max: 5 }),
      /** Keys, limits and health: must never wait behind tasks. */
      priority: size.default({ min: 1, max: 3 }),
      /** Access log, use of keys, recorded metrics. */
      background: size.default({ min: 1, max: 2 }),
    })
    .prefault({}),
  http: z
    .strictObject({
      /** Largest request body, bytes. */
      bodyBytes: z.int().min(1024).max(67_108_864).default(1_048_576),
      /** A request must have arrived, and be answered, within this time. */
      requestTimeoutMs: milliseconds.default(30_000),
    })
    .prefault({}),
  /** Cloudflare Access: every request must carry a token that it signed. */
  access: z
    .strictObject({
      /** `https://TEAM.cloudflareaccess.com/cdn-cgi/access/certs` */
      certificatesUrl: z.url(),
      /** The application's audience tag. */
      audience: z.string().min(1),
      /** `https://TEAM.cloudflareaccess.com` */
      issuer: z.string().min(1),
    })
    .optional(),
});

/** What the configuration file may hold; keys with a default may be left out. */
export type ApiConfiguration = z.input<typeof configuration>;
/** The same with every default filled in. */
export type Settings = z.output<typeof configuration>;

/**
 * Reads and checks the configuration file.
 *
 * @throws CtmError `bad-configuration` (exit 2), naming the key
 */
export async function readConfiguration(path: string): Promise<Settings> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw bad(`cannot read ${path}: ${messageOf(error)}`, "name a readable file with --config");
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad(`${path} is not JSON: ${messageOf(error)}`, "correct the file");
  }
  return parseConfiguration(value, path);
}

/** Checks a configuration; `path` is where it came from, for the error. */
export function parseConfiguration(value: unknown, path: string): Settings {
  const parsed = configuration.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    const unknown = issue.code === "unrecognized_keys" ? issue.keys[0] : undefined;
    const keys = unknown === undefined ? issue.path : [...issue.path, unknown];
    return `${keys.join(".") || "the document"}: ${unknown === undefined ? issue.message : "unknown key"}`;
  });
  throw bad(`${path}: ${problems.join("; ")}`, "correct the file");
}

/**
 * Checks that the files which the configuration names can be read.
 *
 * @throws CtmError `bad-configuration` (exit 2), naming the key
 */
export async function checkFiles({ database, query }: Settings): Promise<void> {
  const files: [string, string | null][] = [
    ["database.authority", database.authority],
    ["database.passwordFile", database.passwordFile],
    ["query.passwordFile", query.passwordFile],
  ];
  for (const [key, path] of files) {
    if (path === null) continue;
    await access(path, constants.R_OK).catch((error: unknown) => {
      throw bad(`${key}: ${messageOf(error)}`, `let the service's user read ${path}`);
    });
  }
}

function bad(what: string, next: string): CtmError {
  return new CtmError("bad-configuration", what, { next, exitCode: 2 });
}
