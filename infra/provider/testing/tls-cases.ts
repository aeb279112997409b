// oxlint-disable vitest/no-standalone-expect -- the rows of this table run inside tests
import { chmod, copyFile, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { exists } from "#system";
import {
  fingerprint,
  issueAuthority,
  issueCertificate,
  type CertificateSubject,
  type IssuedCertificate,
} from "../../tls/certificates.ts";
import { authority } from "../types/authority.ts";
import { certificate } from "../types/certificate.ts";
import { defineCase, type RegisteredCase } from "./resource-case.ts";
import { giveToNobody, ownUser, temporaryFolder } from "./temporary.ts";

interface TlsScene {
  folder: string;
  authority: IssuedCertificate;
}

const at = (scene: TlsScene, name: string): string => join(scene.folder, "tls", name);

async function setUp(): Promise<TlsScene> {
  const folder = await temporaryFolder("tls");
  const issued = await issueAuthority("ctm test", 3650);
  return { folder, authority: issued };
}

async function tearDown({ folder }: TlsScene): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

async function write(scene: TlsScene, name: string, issued: IssuedCertificate): Promise<void> {
  await writeFile(at(scene, `${name}.crt`), issued.certificatePem);
  await writeFile(at(scene, `${name}.key`), issued.keyPem);
}

const authorityCase = defineCase<TlsScene>({
  type: authority,
  setUp,
  tearDown,
  inputs: (scene) => {
    const keep = (name: string) => ({
      stateDirectory: join(scene.folder, "state"),
      kept: join(scene.folder, "kept"),
      stack: "x",
      name,
    });
    return {
      commonName: "ctm test",
      certificatePath: at(scene, "ca.crt"),
      keyPath: at(scene, "ca.key"),
      validDays: 3650,
      keepCertificate: keep("ca.crt"),
      keepKey: keep("ca.key"),
      condition: "valid",
    };
  },
  drift: [
    {
      how: "its certificate was removed",
      change: (scene) => rm(at(scene, "ca.crt")),
      shows: ["condition"],
    },
    {
      how: "its key was removed",
      change: (scene) => rm(at(scene, "ca.key")),
      shows: ["condition"],
    },
    {
      how: "its key is another one's",
      change: async (scene) => writeFile(at(scene, "ca.key"), scene.authority.keyPem),
      shows: ["condition"],
    },
    {
      how: "its certificate is no certificate",
      change: (scene) => writeFile(at(scene, "ca.crt"), "-----BEGIN CERTIFICATE-----\nno\n"),
      shows: ["condition"],
    },
    {
      how: "it has expired",
      change: async (scene) => write(scene, "ca", await issueAuthority("ctm test", 0)),
      shows: ["condition"],
    },
    {
      how: "another authority stands in its place",
      change: async (scene) => write(scene, "ca", await issueAuthority("somebody else", 3650)),
      shows: ["commonName"],
    },
  ],
  identity: {
    commonName: "another",
    certificatePath: "/elsewhere/ca.crt",
    keyPath: "/elsewhere/ca.key",
  },
  instructions: {},
  silent: { validDays: 400, keepCertificate: null, keepKey: null },
  halfDone: [
    {
      left: "an authority that may have issued certificates already",
      arrange: (scene) => write(scene, "ca", scene.authority),
      taken: async (scene) => {
        expect(await readFile(at(scene, "ca.key"), "utf8")).toBe(scene.authority.keyPem);
      },
    },
    {
      left: "a key without its certificate",
      arrange: (scene) => writeFile(at(scene, "ca.key"), scene.authority.keyPem),
      taken: async (scene) => {
        expect((await stat(at(scene, "ca.key"))).mode & 0o777).toBe(0o600);
      },
    },
  ],
  afterDelete: async (scene) => {
    expect(await readdir(join(scene.folder, "tls"))).toEqual([]);
    const kept = await readdir(join(scene.folder, "kept"), { recursive: true });
    const both = kept.filter((path) => /ca\.(crt|key)$/.test(path)).map((path) => dirname(path));
    // Each time that it was replaced or deleted with both in place.
    expect(both.some((removal, index) => both.indexOf(removal) !== index)).toBe(true);
  },
});

const subject: CertificateSubject = {
  commonName: "ctm test server",
  dnsNames: ["localhost"],
  ipAddresses: ["127.0.0.1"],
  usages: ["server", "client"],
};

/** Puts a certificate of the same authority in place, as one who has its key could. */
async function reissue(
  scene: TlsScene,
  other: Partial<CertificateSubject>,
  days = 398,
): Promise<void> {
  const issued = await issueCertificate(scene.authority, { ...subject, ...other }, days);
  await write(scene, "server", issued);
}

const certificateCase = defineCase<TlsScene>({
  type: certificate,
  setUp: async () => {
    const scene = await setUp();
    await writeFile(join(scene.folder, "ca.crt"), scene.authority.certificatePem);
    await writeFile(join(scene.folder, "ca.key"), scene.authority.keyPem);
    return scene;
  },
  tearDown,
  inputs: (scene) => ({
    ...subject,
    authorityCertificatePath: join(scene.folder, "ca.crt"),
    authorityKeyPath: join(scene.folder, "ca.key"),
    issuedBy: fingerprint(scene.authority.certificatePem),
    certificatePath: at(scene, "server.crt"),
    keyPath: at(scene, "server.key"),
    owner: ownUser,
    validDays: 398,
    renewDays: 60,
    condition: "valid",
  }),
  drift: [
    {
      how: "it was removed",
      change: (scene) => rm(at(scene, "server.crt")),
      shows: ["condition"],
    },
    {
      how: "its key was removed",
      change: (scene) => rm(at(scene, "server.key")),
      shows: ["condition"],
    },
    {
      how: "its key is another one's",
      change: (scene) => writeFile(at(scene, "server.key"), scene.authority.keyPem),
      shows: ["condition"],
    },
    {
      how: "everybody may read its key",
      change: (scene) => chmod(at(scene, "server.key"), 0o644),
      shows: ["condition"],
    },
    {
      how: "its key belongs to another user",
      change: (scene) => giveToNobody(at(scene, "server.key")),
      shows: ["condition"],
      needsRoot: true,
    },
    {
      how: "another authority issued it",
      change: async (scene) => {
        const other = await issueAuthority("ctm test", 3650);
        await write(scene, "server", await issueCertificate(other, subject, 398));
      },
      shows: ["condition"],
    },
    {
      how: "it has ended",
      change: (scene) => reissue(scene, {}, 0),
      shows: ["condition", "validDays"],
    },
    {
      how: "it is no certificate",
      change: (scene) => copyFile(at(scene, "server.key"), at(scene, "server.crt")),
      shows: ["condition"],
    },
    {
      how: "it names somebody else",
      change: (scene) => reissue(scene, { commonName: "somebody else" }),
      shows: ["commonName"],
    },
    {
      how: "it is for other names",
      change: (scene) => reissue(scene, { dnsNames: ["localhost", "evil.example"] }),
      shows: ["dnsNames[1]"],
    },
    {
      how: "it is for another address",
      change: (scene) => reissue(scene, { ipAddresses: ["10.0.0.1"] }),
      shows: ["ipAddresses[0]"],
    },
    {
      how: "it may prove less",
      change: (scene) => reissue(scene, { usages: ["server"] }),
      shows: ["usages[1]"],
    },
    {
      how: "it lasts longer than it should",
      change: (scene) => reissue(scene, {}, 3000),
      shows: ["validDays"],
    },
  ],
  identity: { certificatePath: "/elsewhere/x.crt", keyPath: "/elsewhere/x.key" },
  instructions: {
    authorityCertificatePath: "/elsewhere/ca.crt",
    authorityKeyPath: "/elsewhere/ca.key",
    issuedBy: "another",
    owner: "nobody",
    renewDays: 30,
  },
  silent: {},
  halfDone: [
    {
      left: "a key without its certificate",
      arrange: (scene) => writeFile(at(scene, "server.key"), scene.authority.keyPem),
    },
  ],
  afterDelete: async (scene) => {
    expect(await readdir(join(scene.folder, "tls"))).toEqual([]);
    expect(await exists(join(scene.folder, "ca.key"))).toBe(true);
  },
});

/** The stack's authority and what it issues. */
export const tlsCases: readonly RegisteredCase[] = [authorityCase, certificateCase];
