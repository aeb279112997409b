import { z } from "zod";
import { CtmError } from "#system";
import { contradictions } from "../ops/recovery/index.ts";
import { farRepositorySchema } from "./backup/far-repository.ts";
import { cloudflareSchema, cloudflareTokenSchema } from "./cloudflare/settings.ts";

const port = z.int().min(1024).max(65535);
/** A size such as "512MB" or "8GB". */
const size = z.string().regex(/^[1-9]\d*(MB|GB)$/, 'must be a size such as "512MB" or "8GB"');

/** Settings on which the stack's doors, archive and addresses stand. */
const ownParameters =
  /^(listen_addresses|port|cluster_name|unix_socket_\w+|ssl|ssl_\w+|password_encryption|archive_mode|archive_command|archive_library|archive_timeout|restore_command|recovery_target\w*|primary_\w+|synchronous_standby_names|data_directory|config_file|hba_file|ident_file|external_pid_file)$/;
const parameterName = z
  .string()
  .regex(/^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$/, "must be a PostgreSQL setting in lower case")
  .refine((name) => !ownParameters.test(name), "is set by ctm itself");

const memberSchema = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, "must be a letter, then a-z, 0-9 or dashes"),
});

/**
 * Every configuration key of a stack (`pulumi config set ctm:KEY VALUE`). The defaults give the
 * local stack; a port that is set is demanded, one that is not is chosen among the free ones.
 */
const configurationSchema = z.strictObject({
  /** PostgreSQL members; the first one to start becomes the leader. Default m1 and m2. */
  members: z
    .array(memberSchema)
    .min(1)
    .max(9)
    .default([{ name: "m1" }, { name: "m2" }])
    .superRefine((members, context) => {
      const names = members.map(({ name }) => name);
      for (const [index, name] of names.entries()) {
        if (names.indexOf(name) === index) continue;
        context.addIssue({
          code: "custom",
          path: [index, "name"],
          message: `two members are named "${name}"`,
        });
      }
    }),
  /** Read-write port, which follows the leader. Preferred: 5432. */
  readWritePort: port.optional(),
  /** Read-only port, which follows the standbys. Preferred: 5433. */
  readOnlyPort: port.optional(),
  /** The API's port. Preferred: 8480. */
  apiPort: port.optional(),
  /** Port of the API's health and metrics, never exposed. Preferred: 8481. */
  adminPort: port.optional(),
  /** Commits wait for a standby (while there is one): a failover then loses nothing. Default true. */
  synchronous: z.boolean().default(true),
  /** Memory for PostgreSQL, all members of this host together. Default half of the machine's. */
  memory: size.optional(),
  /** Cores for PostgreSQL, all members of this host together. Default all of the machine's. */
  cores: z.int().min(1).max(1024).optional(),
  /** PostgreSQL settings over the derived ones, such as {"work_mem": "64MB"}. */
  parameters: z.record(parameterName, z.string()).default({}),
  /** Seconds after which a WAL segment is archived even when it is not full. Default 60. */
  archiveTimeoutSeconds: z.int().min(1).max(3600).default(60),
  /** Days that full backups, with the WAL between them, are kept. Default 30. */
  fullBackupDays: z.int().min(1).max(3650).default(30),
  /** Days back to which any moment can be recovered; at most `fullBackupDays`. Default 7. */
  windowDays: z.int().min(1).max(3650).default(7),
  /** When the daily full backup begins, UTC. Default "02:00". */
  fullBackupAt: z
    .string()
    .regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time such as "02:00"')
    .default("02:00"),
  /** Minutes between incremental backups. Default 60, or fewer where `rtoMinutes` needs it. */
  incrementalMinutes: z.int().min(5).max(1440).optional(),
  /** Minutes of work that may be lost at most (RPO). Default 15. */
  rpoMinutes: z.int().min(1).max(1440).default(15),
  /** Minutes that a restore may take at most (RTO). Default 30. */
  rtoMinutes: z.int().min(1).max(10_080).default(30),
  /** A copy of the backups in an S3 bucket of another region: see infra/backup/far-repository.ts. Default none. */
  farRepository: farRepositorySchema.optional(),
  /** Access key of that bucket; set it with --secret. */
  farAccessKey: z.string().min(1).optional(),
  /** Its secret key; set it with --secret. */
  farSecretKey: z.string().min(1).optional(),
  /** Cloudflare before the API, as infra/cloudflare/settings.ts describes it. Default none. */
  cloudflare: cloudflareSchema.optional(),
  /** Cloudflare's API token; set it with --secret. Without it nothing of Cloudflare exists. */
  cloudflareToken: cloudflareTokenSchema.optional(),
  /** The stack that holds this one's Cloudflare part, where it is a stack of its own. */
  cloudflareStack: z.string().min(1).optional(),
});

/** A stack's checked configuration. */
export type Configuration = z.infer<typeof configurationSchema>;

/** Pulumi's namespace of these keys: the project's name. */
export const configurationNamespace = "ctm";

/**
 * Parses what Pulumi hands over: full keys, and text that may be JSON. Keys of other namespaces
 * (such as `cloudflare:apiToken`) are other people's.
 *
 * @throws CtmError `bad-configuration`, with every wrong key and what is wrong with it
 */
export function parseConfiguration(all: Readonly<Record<string, string>>): Configuration {
  const prefix = `${configurationNamespace}:`;
  const own = Object.entries(all).filter(([key]) => key.startsWith(prefix));
  const values = Object.fromEntries(
    own.map(([key, text]) => [key.slice(prefix.length), valueOf(text)]),
  );
  const parsed = configurationSchema
    .superRefine(checkCloudflare)
    .superRefine(checkWindow)
    .superRefine(checkObjectives)
    .superRefine(checkFarRepository)
    .safeParse(values);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.flatMap((issue) => {
    const place = `${prefix}${pathOf(issue.path)}`;
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => `${prefix}${pathOf([...issue.path, key])} is no key of ctm`);
    }
    if (issue.code === "invalid_key") {
      return issue.issues.map(({ message }) => `${place}: ${message}`);
    }
    return [`${place}: ${issue.message}`];
  });
  throw new CtmError("bad-configuration", issues.join("; "), {
    next: "pulumi config, and infra/config.ts for every key",
    exitCode: 2,
  });
}

/** Half a configuration would take the edge away, or never make it. */
function checkCloudflare(configuration: Configuration, context: z.RefinementCtx): void {
  const { cloudflare, cloudflareToken, cloudflareStack } = configuration;
  const issue = (key: keyof Configuration, message: string): void =>
    context.addIssue({ code: "custom", path: [key], message });
  if (cloudflare !== undefined && cloudflareToken === undefined) {
    issue("cloudflareToken", "must be set where ctm:cloudflare is");
  }
  if (cloudflare === undefined && cloudflareToken !== undefined) {
    issue("cloudflare", "must be set where ctm:cloudflareToken is");
  }
  if (cloudflare !== undefined && cloudflareStack !== undefined) {
    issue("cloudflareStack", "is for a stack without ctm:cloudflare of its own");
  }
  if (cloudflareStack !== undefined && configuration.apiPort === undefined) {
    issue("apiPort", "must be set where ctm:cloudflareStack is: the tunnel leads to it");
  }
}

/** A far copy has its keys, and keys have a place. */
function checkFarRepository(configuration: Configuration, context: z.RefinementCtx): void {
  const present = farKeys.filter((key) => configuration[key] !== undefined);
  if (present.length === 0 || present.length === farKeys.length) return;
  for (const key of farKeys) {
    if (configuration[key] !== undefined) continue;
    context.addIssue({
      code: "custom",
      path: [key],
      message: `must be set where ctm:${present[0]} is`,
    });
  }
}

const farKeys = ["farRepository", "farAccessKey", "farSecretKey"] as const;

/** The window begins with a backup, so backups live at least as long. */
function checkWindow(
  { windowDays, fullBackupDays }: Configuration,
  context: z.RefinementCtx,
): void {
  // Fewer than one day was refused already.
  if (windowDays <= fullBackupDays || fullBackupDays < 1) return;
  context.addIssue({
    code: "custom",
    path: ["windowDays"],
    message: `a window of ${windowDays} days needs full backups of as many, and fullBackupDays is ${fullBackupDays}`,
  });
}

/** A promise that the policy itself breaks is none. */
function checkObjectives(configuration: Configuration, context: z.RefinementCtx): void {
  // What is refused for itself is not compared.
  const refused = new Set(context.issues.map(({ path }) => path?.[0]));
  if (objectiveKeys.some((key) => refused.has(key))) return;
  const {
    archiveTimeoutSeconds,
    incrementalMinutes = null,
    rpoMinutes,
    rtoMinutes,
  } = configuration;
  const broken = contradictions(
    { archiveTimeoutSeconds, incrementalMinutes, rpoMinutes, rtoMinutes },
    { hasFarCopy: configuration.farRepository !== undefined },
  );
  for (const { key, message } of broken) context.addIssue({ code: "custom", path: [key], message });
}

const objectiveKeys = [
  "archiveTimeoutSeconds",
  "incrementalMinutes",
  "rpoMinutes",
  "rtoMinutes",
] as const;

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((joined, key) => {
    if (typeof key === "number") return `${joined}[${key}]`;
    return joined === "" ? String(key) : `${joined}.${String(key)}`;
  }, "");
}

/** Bytes of a size such as "512MB". */
export function bytesOf(text: string): number {
  const [, amount, unit] = /^(\d+)(MB|GB)$/.exec(text) ?? [];
  return Number(amount) * (unit === "GB" ? 1024 ** 3 : 1024 ** 2);
}
