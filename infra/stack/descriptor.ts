import { z } from "zod";
import { CtmError, parseJson } from "#system";
import { stackPaths, type StackPaths } from "./paths.ts";
import { readOwn } from "./read-own.ts";

const port = z.int().min(1).max(65535);
const address = z.strictObject({ host: z.string(), port });

const member = z.strictObject({
  /** Name in the cluster, as Patroni shows it. */
  name: z.string(),
  /** Where PostgreSQL listens. */
  host: z.string(),
  port,
  /** Patroni's REST API: TLS; writes need the credentials in `credentials/patroni-rest`. */
  rest: address,
  /** PGDATA. */
  dataDirectory: z.string(),
  socketDirectory: z.string(),
  patroniConfiguration: z.string(),
  /** pgBackRest's configuration in which this member is pg1. */
  backrestConfiguration: z.string(),
});

const service = z.strictObject({
  /** The program's name under supervisord, and that of its log. */
  name: z.string(),
  kind: z.enum(["etcd", "postgres", "proxy", "api", "tunnel", "copier"]),
  log: z.string(),
});

/** A repository in a folder of this host. */
const nearRepository = z.strictObject({
  name: z.string(),
  number: z.int(),
  kind: z.literal("posix").default("posix"),
  path: z.string(),
});

/** A copy of the near repository in an S3 bucket, from which pgBackRest restores directly. */
const farRepository = z.strictObject({
  name: z.string(),
  number: z.int(),
  kind: z.literal("s3"),
  /** Folder in the bucket, beginning with a slash. */
  path: z.string(),
  /** Such as https://s3.eu-west-1.amazonaws.com. */
  endpoint: z.string(),
  region: z.string(),
  bucket: z.string(),
  /** pgBackRest's configuration whose repo1 it is; holds the keys, so only PostgreSQL's user reads it. */
  configuration: z.string(),
  /** What the copier last did: see ops/recovery/copier/state.ts. */
  state: z.string(),
});

/** What a stack of an earlier version was made with. */
export const firstBackupPolicy = {
  fullDays: 30,
  windowDays: 7,
  fullAt: "02:00",
  incrementalMinutes: null,
  rpoMinutes: 15,
  rtoMinutes: 30,
  archiveTimeoutSeconds: 60,
};

/** What backups promise, from which warnings are derived. */
const backupPolicy = z
  .strictObject({
    /** Days that full backups are kept. */
    fullDays: z.int(),
    /** Days back to which any moment can be recovered. */
    windowDays: z.int(),
    /** UTC, such as 02:00. */
    fullAt: z.string(),
    /** Null where nobody set it: it then follows from the RTO. */
    incrementalMinutes: z.int().nullable(),
    /** How much may be lost at most. */
    rpoMinutes: z.int(),
    /** How long a restore may take at most. */
    rtoMinutes: z.int(),
    archiveTimeoutSeconds: z.int(),
  })
  .default(firstBackupPolicy);

const descriptor = z.strictObject({
  /** Raised when a field changes its meaning; a reader refuses formats that it does not know. */
  format: z.literal(1),
  stack: z.string(),
  runtime: z.enum(["local", "docker"]),
  /** OS users that run PostgreSQL (with Patroni and pgBackRest) and everything else. */
  users: z.strictObject({ postgres: z.string(), service: z.string() }),
  postgres: z.strictObject({
    version: z.int(),
    /** Folder of postgres, pg_ctl, psql of that version. */
    binaries: z.string(),
    /** Patroni's scope: the cluster's name. */
    cluster: z.string(),
    database: z.string(),
    owner: z.string(),
    migrator: z.string(),
    members: z.array(member).min(1),
    /** Client certificate with which provisioning connects to `rw` as superuser postgres. */
    provisioning: z.strictObject({ certificate: z.string(), key: z.string() }),
    rw: address,
    ro: address,
    synchronous: z.boolean(),
    /** One sentence: which settings were derived from what. */
    settings: z.string(),
  }),
  etcd: z.array(z.strictObject({ name: z.string(), client: address, peer: address })).min(1),
  tls: z.strictObject({
    /** PEM of the stack's own CA, for sslmode=verify-full. */
    authority: z.string(),
    /** Client certificate for etcd, readable by the PostgreSQL user only. */
    etcdCertificate: z.string(),
    etcdKey: z.string(),
  }),
  backup: z.strictObject({
    stanza: z.string(),
    policy: backupPolicy,
    repositories: z.array(z.union([nearRepository, farRepository])).min(1),
  }),
  api: z.strictObject({
    url: z.string(),
    adminUrl: z.string(),
    version: z.string(),
  }),
  /** Cloudflare before the API; null where there is none. */
  edge: z
    .strictObject({
      /** Where clients reach the API. */
      url: z.string(),
      /** Of cloudflared. */
      executable: z.string(),
      /** Where cloudflared tells of its connections. */
      metrics: address,
    })
    .nullable()
    // Stacks of before have no word of it.
    .default(null),
  supervisor: z.strictObject({
    configuration: z.string(),
    programs: z.string(),
    socket: z.string(),
    pidFile: z.string(),
    log: z.string(),
    stackDirectory: z.string(),
  }),
  /** Folders to make again after a reboot emptied /run. */
  runtimeDirectories: z.array(
    z.strictObject({ path: z.string(), owner: z.string(), mode: z.string() }),
  ),
  services: z.array(service),
});

/** What a stack is on this machine: topology, ports, paths, versions; never a secret. */
export type Descriptor = z.infer<typeof descriptor>;
export type MemberDescriptor = Descriptor["postgres"]["members"][number];
export type ServiceDescriptor = Descriptor["services"][number];

/**
 * Reads a stack's descriptor, the only thing on-call commands start from.
 *
 * @throws CtmError `no-such-stack` when `up` never finished here, `descriptor-unreadable`
 */
export async function readDescriptor(
  stack: string,
  paths: StackPaths = stackPaths(stack),
): Promise<Descriptor> {
  const found = await readDescriptorIfExists(stack, paths);
  if (found !== undefined) return found;
  throw new CtmError(
    "no-such-stack",
    `there is no stack "${stack}" here (${paths.descriptor} does not exist)`,
    {
      next: stack === "local" ? "npm run up" : `npm run up -- --stack ${stack}`,
      exitCode: 2,
    },
  );
}

/** As `readDescriptor`, but undefined where there is none. */
export async function readDescriptorIfExists(
  stack: string,
  paths: StackPaths = stackPaths(stack),
): Promise<Descriptor | undefined> {
  const text = await readOwn(paths.descriptor);
  return text === undefined ? undefined : parseDescriptor(text, paths.descriptor);
}

/** Parses a descriptor; `path` is where it came from, for the error. */
export function parseDescriptor(text: string, path: string): Descriptor {
  const parsed = descriptor.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(
    (issue) => `${issue.path.join(".") || "document"}: ${issue.message}`,
  );
  throw new CtmError("descriptor-unreadable", `${path}: ${issues.slice(0, 5).join("; ")}`, {
    next: "npm run up writes it anew",
  });
}
