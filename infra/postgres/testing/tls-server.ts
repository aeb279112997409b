import { randomInt } from "node:crypto";
import { chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { QueryResult } from "pg";
import { startScratchServer } from "#database";
import { identityOf, isRoot, makeDirectory, type Identity } from "#system";
import { issueAuthority, issueCertificate } from "../../tls/certificates.ts";
import { asSuperuser, type Provisioning } from "../connection.ts";

/** A PostgreSQL server that lets in whom a stack's servers let in. */
export interface TlsServer {
  provisioning: Provisioning;
  /** Runs SQL as provisioning does: as superuser, proven by a certificate. */
  query(sql: string, database?: string): Promise<QueryResult>;
  stop(): Promise<void>;
}

const provisioningName = "ctm-provisioning";

export async function startTlsServer(): Promise<TlsServer> {
  const identity = isRoot() ? await identityOf("postgres") : undefined;
  const folder = await mkdtemp(join(tmpdir(), "ctm-tls-server-"));
  await makeDirectory(folder, { mode: 0o755 });
  // An address of its own, all of 127.0.0.0/8 being this host: so the usual port is free there.
  const host = `127.${randomInt(16, 250)}.${randomInt(250)}.${randomInt(1, 250)}`;
  const path = (name: string): string => join(folder, name);
  try {
    await writeAccess(folder, host, identity);
    const server = await startScratchServer({
      settings: {
        listen_addresses: host,
        hba_file: path("hba.conf"),
        ident_file: path("ident.conf"),
        ssl: "on",
        ssl_ca_file: path("ca.crt"),
        ssl_cert_file: path("server.crt"),
        ssl_key_file: path("server.key"),
      },
    });
    const provisioning: Provisioning = {
      host,
      port: 5432,
      authority: path("ca.crt"),
      certificate: path("provisioning.crt"),
      key: path("provisioning.key"),
    };
    return {
      provisioning,
      query: async (sql, database = "postgres") =>
        await asSuperuser(provisioning, database, (client) => client.query(sql)),
      stop: async () => {
        await server.stop();
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Certificates, and who may connect how: as patroni-configuration.ts has it. */
async function writeAccess(
  folder: string,
  host: string,
  identity: Identity | undefined,
): Promise<void> {
  const authority = await issueAuthority("ctm test", 30);
  const subject = { dnsNames: [], ipAddresses: [host] };
  const server = await issueCertificate(
    authority,
    { ...subject, commonName: "server", usages: ["server"] },
    30,
  );
  const provisioning = await issueCertificate(
    authority,
    { ...subject, commonName: provisioningName, usages: ["client"] },
    30,
  );
  const files = {
    "ca.crt": authority.certificatePem,
    "server.crt": server.certificatePem,
    "server.key": server.keyPem,
    "provisioning.crt": provisioning.certificatePem,
    "provisioning.key": provisioning.keyPem,
    "ident.conf": `provisioning ${provisioningName} postgres\n`,
    "hba.conf": [
      "local all all scram-sha-256",
      "hostssl all postgres 127.0.0.0/8 cert map=provisioning",
      "hostssl all all 127.0.0.0/8 scram-sha-256",
      "",
    ].join("\n"),
  };
  for (const [name, text] of Object.entries(files)) {
    const path = join(folder, name);
    await writeFile(path, text, { mode: 0o600 });
    if (identity !== undefined) await chown(path, identity.uid, identity.gid);
  }
}
