import { rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import {
  CtmError,
  findIdentity,
  identityOf,
  isRoot,
  makeDirectory,
  readFileIfExists,
  writeFileAtomic,
} from "#system";
import {
  certificateCondition,
  describeCertificate,
  fingerprint,
  issueCertificate,
} from "../../tls/certificates.ts";
import { defineResourceType } from "../resource-type.ts";

const path = z.string().startsWith("/");
const inputs = z.strictObject({
  authorityCertificatePath: path,
  authorityKeyPath: path,
  /** Fingerprint of the authority: another one means another certificate. */
  issuedBy: z.string(),
  certificatePath: path,
  keyPath: path,
  /** OS user that may read the key. */
  owner: z.string().min(1),
  commonName: z.string().min(1),
  dnsNames: z.array(z.string()),
  ipAddresses: z.array(z.string()),
  usages: z.array(z.enum(["server", "client"])).min(1),
  validDays: z.int().min(1),
  /** An `up` within so many days of its end issues it anew. */
  renewDays: z.int().min(0),
  condition: z.string(),
});
export type CertificateInputs = z.infer<typeof inputs>;
export interface CertificateOutputs extends CertificateInputs {
  /** SHA-256 of the certificate; services restart or reload when it changes. */
  fingerprint: string;
}

/** A certificate of the stack's authority, with its key in a file of its own, never in the state. */
export const certificate = defineResourceType<CertificateInputs, CertificateOutputs>({
  token: "ctm:tls:Certificate",
  inputs,
  secrets: [],
  replacedBy: ["certificatePath", "keyPath"],
  async create(wanted) {
    return { id: wanted.certificatePath, outputs: await issue(wanted) };
  },
  async read(_id, state) {
    const certificatePem = await readFileIfExists(state.certificatePath);
    return {
      ...state,
      // Of a certificate that is not there, its condition tells.
      ...describeCertificate(certificatePem),
      condition: await conditionOf(state, certificatePem),
      fingerprint: fingerprint(certificatePem),
    };
  },
  async update(_id, _state, wanted) {
    return await issue(wanted);
  },
  async delete(_id, state) {
    await rm(state.certificatePath, { force: true });
    await rm(state.keyPath, { force: true });
  },
});

async function issue(wanted: CertificateInputs): Promise<CertificateOutputs> {
  const certificatePem = await readFileIfExists(wanted.authorityCertificatePath);
  const keyPem = await readFileIfExists(wanted.authorityKeyPath);
  if (certificatePem === undefined || keyPem === undefined) {
    throw new CtmError("authority-missing", `${wanted.authorityKeyPath} cannot be read`, {
      next: "npm run up makes a new authority",
    });
  }
  const issued = await issueCertificate({ certificatePem, keyPem }, wanted, wanted.validDays);
  const owner = isRoot() ? await identityOf(wanted.owner) : undefined;
  await makeDirectory(dirname(wanted.certificatePath), { mode: 0o755 });
  await writeFileAtomic(wanted.keyPath, issued.keyPem, { mode: 0o600, owner });
  await writeFileAtomic(wanted.certificatePath, issued.certificatePem, { mode: 0o644, owner });
  return { ...wanted, fingerprint: fingerprint(issued.certificatePem) };
}

async function conditionOf(
  state: CertificateInputs,
  certificatePem: string | undefined,
): Promise<string> {
  const keyPem = await readFileIfExists(state.keyPath);
  const authorityPem = await readFileIfExists(state.authorityCertificatePath);
  const found = certificateCondition(certificatePem, keyPem, authorityPem, state.renewDays);
  if (found !== "valid") return found;
  const key = await stat(state.keyPath);
  if ((key.mode & 0o777) !== 0o600) return `key has mode 0${(key.mode & 0o777).toString(8)}`;
  const owner = await findIdentity(state.owner);
  return !isRoot() || owner?.uid === key.uid ? "valid" : `key belongs to uid ${key.uid}`;
}
