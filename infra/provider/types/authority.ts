import { rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { exists, makeDirectory, readFileIfExists, writeFileAtomic } from "#system";
import { endRemoval, keepSchema, keptPath } from "#stack";
import {
  certificateCondition,
  describeCertificate,
  fingerprint,
  issueAuthority,
} from "../../tls/certificates.ts";
import { defineResourceType } from "../resource-type.ts";

const inputs = z.strictObject({
  commonName: z.string().min(1),
  certificatePath: z.string().startsWith("/"),
  /** Never in Pulumi's state: this file is the only copy. */
  keyPath: z.string().startsWith("/"),
  validDays: z.int().min(30),
  keepCertificate: keepSchema.nullable(),
  keepKey: keepSchema.nullable(),
  condition: z.string(),
});
export type AuthorityInputs = z.infer<typeof inputs>;
export interface AuthorityOutputs extends AuthorityInputs {
  /** SHA-256 of the certificate. */
  fingerprint: string;
}

/** The stack's own certificate authority. */
export const authority = defineResourceType<AuthorityInputs, AuthorityOutputs>({
  token: "ctm:tls:Authority",
  inputs,
  secrets: [],
  replacedBy: ["commonName", "certificatePath", "keyPath", "condition"],
  ignoredInDiff: ["keepCertificate", "keepKey", "validDays"],
  async create(wanted) {
    await endRemoval(wanted.keepKey);
    const { certificatePem, found } = await look(wanted);
    // One that a killed run made may have issued certificates already.
    if (certificatePem !== undefined && found === "valid") {
      return {
        id: wanted.certificatePath,
        outputs: { ...wanted, fingerprint: fingerprint(certificatePem) },
      };
    }
    const issued = await issueAuthority(wanted.commonName, wanted.validDays);
    await makeDirectory(dirname(wanted.certificatePath), { mode: 0o755 });
    await writeFileAtomic(wanted.keyPath, issued.keyPem, { mode: 0o600 });
    await writeFileAtomic(wanted.certificatePath, issued.certificatePem, { mode: 0o644 });
    return {
      id: wanted.certificatePath,
      outputs: { ...wanted, fingerprint: fingerprint(issued.certificatePem) },
    };
  },
  async read(_id, state) {
    const { certificatePem, found } = await look(state);
    return {
      ...state,
      commonName: describeCertificate(certificatePem)?.commonName ?? state.commonName,
      condition: found,
      fingerprint: fingerprint(certificatePem),
    };
  },
  async update(_id, state, wanted) {
    return { ...state, ...wanted };
  },
  async delete(_id, state) {
    if (state.keepCertificate !== null && (await exists(state.certificatePath))) {
      await rename(state.certificatePath, await keptPath(state.keepCertificate));
    }
    if (state.keepKey !== null && (await exists(state.keyPath))) {
      await rename(state.keyPath, await keptPath(state.keepKey));
    }
    await rm(state.certificatePath, { force: true });
    await rm(state.keyPath, { force: true });
  },
});

async function look(
  paths: AuthorityInputs,
): Promise<{ certificatePem: string | undefined; found: string }> {
  const certificatePem = await readFileIfExists(paths.certificatePath);
  const keyPem = await readFileIfExists(paths.keyPath);
  return {
    certificatePem,
    found: certificateCondition(certificatePem, keyPem, certificatePem, 0),
  };
}
