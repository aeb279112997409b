// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 asks for this polyfill
import "reflect-metadata";
import { X509Certificate, createPrivateKey, randomBytes, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** ECDSA on P-256: every client and server of the stack speaks it, and keys are made at once. */
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const dayMs = 86_400_000;

export interface IssuedCertificate {
  certificatePem: string;
  keyPem: string;
}

export interface CertificateSubject {
  commonName: string;
  dnsNames: readonly string[];
  ipAddresses: readonly string[];
  /** What the holder may prove itself as. */
  usages: readonly ("server" | "client")[];
}

x509.cryptoProvider.set(globalThis.crypto);

/** A new self-signed CA that may issue end certificates only. */
export async function issueAuthority(
  commonName: string,
  validDays: number,
): Promise<IssuedCertificate> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [commonName] }],
    ...validity(validDays),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificatePem: pem(certificate), keyPem: await keyPem(keys.privateKey) };
}

/** A new key and its certificate, signed by the authority. */
export async function issueCertificate(
  authority: IssuedCertificate,
  subject: CertificateSubject,
  validDays: number,
): Promise<IssuedCertificate> {
  const issuer = new x509.X509Certificate(authority.certificatePem);
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    createPrivateKey(authority.keyPem).export({ format: "der", type: "pkcs8" }),
    algorithm,
    false,
    ["sign"],
  );
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const purposes = {
    server: x509.ExtendedKeyUsage.serverAuth,
    client: x509.ExtendedKeyUsage.clientAuth,
  };
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [subject.commonName] }],
    issuer: issuer.subjectName,
    ...validity(validDays),
    signingKey,
    publicKey: keys.publicKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(subject.usages.map((usage) => purposes[usage])),
      new x509.SubjectAlternativeNameExtension([
        ...subject.dnsNames.map((value) => ({ type: "dns" as const, value })),
        ...subject.ipAddresses.map((value) => ({ type: "ip" as const, value })),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificatePem: pem(certificate), keyPem: await keyPem(keys.privateKey) };
}

/** SHA-256 fingerprint of a PEM certificate, as lower-case hex; empty for what is none. */
export function fingerprint(certificatePem: string | undefined): string {
  if (certificatePem === undefined) return "";
  try {
    return new X509Certificate(certificatePem).fingerprint256.replaceAll(":", "").toLowerCase();
  } catch {
    return "";
  }
}

/** What a certificate says of its holder, and for how long. */
export interface CertificateDescription {
  commonName: string;
  dnsNames: string[];
  ipAddresses: string[];
  usages: ("server" | "client")[];
  validDays: number;
}

/** What a PEM certificate says, or undefined for what is none. */
export function describeCertificate(
  certificatePem: string | undefined,
): CertificateDescription | undefined {
  if (certificatePem === undefined) return undefined;
  let found: x509.X509Certificate;
  try {
    found = new x509.X509Certificate(certificatePem);
  } catch {
    return undefined;
  }
  const names = found.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
  const named = (type: x509.GeneralNameType): string[] =>
    names.filter((name) => name.type === type).map(({ value }) => value);
  const purposes = found.getExtension(x509.ExtendedKeyUsageExtension)?.usages ?? [];
  return {
    commonName: found.subjectName.getField("CN")[0] ?? "",
    dnsNames: named("dns"),
    ipAddresses: named("ip"),
    usages: purposes.flatMap((purpose) => {
      if (purpose === x509.ExtendedKeyUsage.serverAuth) return ["server"];
      return purpose === x509.ExtendedKeyUsage.clientAuth ? ["client"] : [];
    }),
    validDays: Math.round((found.notAfter.getTime() - found.notBefore.getTime()) / dayMs),
  };
}

/**
 * `valid`, or why this certificate has to be issued anew.
 *
 * @param renewDays days before its end at which a certificate counts as used up
 */
export function certificateCondition(
  certificatePem: string | undefined,
  keyPemText: string | undefined,
  authorityPem: string | undefined,
  renewDays: number,
): string {
  if (certificatePem === undefined) return "certificate missing";
  if (keyPemText === undefined) return "key missing";
  if (authorityPem === undefined) return "authority missing";
  try {
    const certificate = new X509Certificate(certificatePem);
    if (!certificate.checkPrivateKey(createPrivateKey(keyPemText))) return "key of another one";
    if (!certificate.verify(new X509Certificate(authorityPem).publicKey)) {
      return "issued by another authority";
    }
    const end = new Date(certificate.validTo).getTime();
    if (end - Date.now() < renewDays * dayMs) return `ends ${new Date(end).toISOString()}`;
    return "valid";
  } catch {
    return "unreadable";
  }
}

function serialNumber(): string {
  // Positive and without a leading zero byte, as RFC 5280 asks.
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString("hex");
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  // A minute back: another machine's clock may be a little behind.
  const start = Date.now() - 60_000;
  return { notBefore: new Date(start), notAfter: new Date(start + days * dayMs) };
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

async function keyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key));
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" })
    .export({ format: "pem", type: "pkcs8" })
    .toString();
}
