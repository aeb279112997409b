import * as pulumi from "@pulumi/pulumi";
import { join } from "node:path";
import { userInfo } from "node:os";
import { authorityFiles, credentialPath, type CredentialName, type StackPaths } from "#stack";
import { Authority, Certificate, Secret, SecretFile } from "./provider/resources.ts";
import { locksOf } from "./secrets/lock.ts";
import type { SystemUsers } from "./runtime/local/local-runtime.ts";
import { listenAddress, type Topology } from "./topology.ts";

/** Common name of the certificate that provisioning connects with; pg_ident maps it to postgres. */
export const provisioningName = "ctm-provisioning";

/** Roles that log in with a password. */
export type LoginRole =
  | "ctm_migrator"
  | "ctm_api"
  | "ctm_query"
  | "ctm_monitor"
  | "ctm_replicator"
  | "ctm_backup";

const loginRoles: readonly LoginRole[] = [
  "ctm_migrator",
  "ctm_api",
  "ctm_query",
  "ctm_monitor",
  "ctm_replicator",
  "ctm_backup",
];

/** An authority is replaced by hand only; end certificates renew themselves on the way. */
const authorityDays = 3650;
const certificateDays = 398;
const renewDays = 60;

export interface SecurityArguments {
  paths: StackPaths;
  users: SystemUsers;
  topology: Topology;
  /** What must exist before files are written. */
  after: pulumi.Resource;
}

/** The stack's authority, its certificates and every generated secret. */
export class Security extends pulumi.ComponentResource {
  readonly authorityPath: string;
  /** Of its certificate: for those who read it once, as they start. */
  readonly authorityFingerprint: pulumi.Output<string>;
  readonly provisioning: { certificate: string; key: string };
  readonly server: { certificate: string; key: string; fingerprint: pulumi.Output<string> };
  readonly etcd: { certificate: string; key: string; fingerprint: pulumi.Output<string> };
  readonly passwords: Record<LoginRole, Secret>;
  readonly patroniRest: Secret;
  readonly repositoryCipher: Secret;
  readonly settingsKey: Secret;
  /** What others wait for when they read any of these files. */
  readonly ready: pulumi.Resource[];

  constructor(
    name: string,
    args: SecurityArguments,
    options: pulumi.ComponentResourceOptions = {},
  ) {
    super("ctm:security:Security", name, {}, options);
    const { paths, users, topology } = args;
    const own = userInfo().username;
    const child = { parent: this, dependsOn: args.after };

    const { certificate: authorityPath, key: authorityKeyPath } = authorityFiles(paths);
    this.authorityPath = authorityPath;
    const authority = new Authority(
      "authority",
      {
        commonName: `ctm ${paths.stack}`,
        certificatePath: authorityPath,
        keyPath: authorityKeyPath,
        validDays: authorityDays,
        keepCertificate: topology.keep("ca.crt"),
        keepKey: topology.keep("ca.key"),
        condition: "valid",
      },
      child,
    );
    this.authorityFingerprint = authority.fingerprint;
    const certificate = (
      resource: string,
      owner: string,
      commonName: string,
      usages: ("server" | "client")[],
    ): Certificate =>
      new Certificate(
        resource,
        {
          authorityCertificatePath: authorityPath,
          authorityKeyPath,
          issuedBy: authority.fingerprint,
          certificatePath: join(paths.tls, `${resource}.crt`),
          keyPath: join(paths.tls, `${resource}.key`),
          owner,
          commonName,
          dnsNames: ["localhost"],
          ipAddresses: [listenAddress],
          usages,
          validDays: certificateDays,
          renewDays,
          condition: "valid",
        },
        { parent: this },
      );
    const server = certificate("server", users.postgres, `ctm ${paths.stack} server`, ["server"]);
    const etcd = certificate("etcd", users.postgres, `ctm ${paths.stack} etcd`, [
      "server",
      "client",
    ]);
    const provisioning = certificate("provisioning", own, provisioningName, ["client"]);
    const pathsOf = (resource: string): { certificate: string; key: string } => ({
      certificate: join(paths.tls, `${resource}.crt`),
      key: join(paths.tls, `${resource}.key`),
    });
    this.server = { ...pathsOf("server"), fingerprint: server.fingerprint };
    this.etcd = { ...pathsOf("etcd"), fingerprint: etcd.fingerprint };
    this.provisioning = pathsOf("provisioning");

    const locks = locksOf(paths);
    const secret = (credential: CredentialName, prefix: string, kept: boolean): Secret =>
      new Secret(
        credential,
        {
          path: credentialPath(paths, credential),
          owner: own,
          prefix,
          generation: 1,
          keep: kept ? topology.keep(credential) : null,
          opens: locks.get(credential) ?? null,
          file: "intact",
        },
        child,
      );
    const passwords = loginRoles.map((role): [LoginRole, Secret] => [
      role,
      secret(role, "", false),
    ]);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one entry for each login role
    this.passwords = Object.fromEntries(passwords) as Record<LoginRole, Secret>;
    this.patroniRest = secret("patroni-rest", "ctm:", false);
    this.repositoryCipher = secret("repository-cipher", "", true);
    this.settingsKey = secret("settings-key", "", true);

    const passwordFile = new SecretFile(
      "pgpass",
      {
        path: credentialPath(paths, "pgpass"),
        owner: own,
        mode: "0600",
        content: pulumi
          .all(passwords.map(([role, { value }]) => value.apply((text) => `*:*:*:${role}:${text}`)))
          .apply((lines) => `${lines.join("\n")}\n`),
        keep: null,
      },
      { parent: this, dependsOn: args.after, additionalSecretOutputs: ["content"] },
    );
    // The key of encrypted settings is there before the database, and goes after it.
    this.ready = [authority, server, etcd, provisioning, passwordFile, this.settingsKey];
    this.registerOutputs({});
  }
}
