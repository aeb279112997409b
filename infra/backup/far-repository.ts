import { z } from "zod";
import type { Configuration } from "../config.ts";

/** `ctm:farRepository`: an S3 bucket (AWS S3, Cloudflare R2, MinIO) that holds a copy of the backups. */
export const farRepositorySchema = z.strictObject({
  /** Such as https://s3.eu-west-1.amazonaws.com, or with a port. pgBackRest speaks TLS only. */
  endpoint: z
    .url({ protocol: /^https$/, error: "must be a URL that begins with https://" })
    .refine(
      (text) => new URL(text).pathname === "/",
      "must have no path: the bucket has its own key",
    ),
  /** Such as eu-west-1; "auto" for R2. */
  region: z.string().min(1),
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "must be a bucket's name"),
  /** Folder in the bucket; each stack needs its own. Default /ctm/STACK. */
  path: z
    .string()
    .regex(/^(\/[\w.-]+)+$/, "must be a path such as /ctm/production")
    .optional(),
  /** `path` puts the bucket behind the host, `host` before it. Default path. */
  uriStyle: z.enum(["path", "host"]).default("path"),
  /** PEM file of the CA that signed the endpoint's certificate. Default those of the system. */
  authority: z.string().startsWith("/").optional(),
});

export type FarRepositorySettings = z.infer<typeof farRepositorySchema>;

/** Where a far repository is and how to get in: enough for pgBackRest and rclone. */
export interface FarRepository extends Omit<FarRepositorySettings, "path" | "authority"> {
  path: string;
  authority: string | null;
  accessKey: string;
  secretKey: string;
}

/** The far repository of a stack, or undefined where it has none. */
export function farRepositoryOf(
  configuration: Configuration,
  stack: string,
): FarRepository | undefined {
  const { farRepository, farAccessKey, farSecretKey } = configuration;
  if (farRepository === undefined) return undefined;
  return {
    ...farRepository,
    path: farRepository.path ?? `/ctm/${stack}`,
    authority: farRepository.authority ?? null,
    // Checked with the configuration: neither is without the other two.
    accessKey: farAccessKey ?? "",
    secretKey: farSecretKey ?? "",
  };
}

/** pgBackRest's options for the bucket as its repo1. */
export function backrestOptions(far: FarRepository): string {
  const { hostname, port } = new URL(far.endpoint);
  const lines = [
    "repo1-type=s3",
    `repo1-path=${far.path}`,
    `repo1-s3-bucket=${far.bucket}`,
    `repo1-s3-endpoint=${hostname}`,
    `repo1-s3-region=${far.region}`,
    `repo1-s3-uri-style=${far.uriStyle}`,
    `repo1-s3-key=${far.accessKey}`,
    `repo1-s3-key-secret=${far.secretKey}`,
    `repo1-storage-port=${port === "" ? "443" : port}`,
    ...(far.authority === null ? [] : [`repo1-storage-ca-file=${far.authority}`]),
  ];
  return lines.join("\n");
}

/** rclone.conf with the bucket as the remote `far` (https://rclone.org/s3/). */
export function rcloneConfiguration(far: FarRepository): string {
  return `# Written by ctm: changes here are undone by the next up.
[far]
type = s3
provider = ${providerOf(new URL(far.endpoint).hostname)}
access_key_id = ${far.accessKey}
secret_access_key = ${far.secretKey}
endpoint = ${far.endpoint.replace(/\/$/, "")}
region = ${far.region}
force_path_style = ${far.uriStyle === "path"}
no_check_bucket = true
`;
}

/** rclone's name of the far place. */
export function rclonePath({ bucket, path }: Pick<FarRepository, "bucket" | "path">): string {
  return `far:${bucket}${path}`;
}

function providerOf(hostname: string): string {
  if (hostname.endsWith(".amazonaws.com")) return "AWS";
  if (hostname.endsWith(".r2.cloudflarestorage.com")) return "Cloudflare";
  return "Other";
}
