import { createCipheriv, createDecipheriv, createHash, pbkdf2Sync, randomBytes } from "node:crypto";
import { z } from "zod";
import { CtmError, parseJson } from "#system";

/**
 * What a blank machine needs beside the far copy and a clone: every secret without which backups
 * are noise. Whoever holds it can read the whole database.
 */
export const escrowDocument = z.strictObject({
  format: z.literal(1),
  stack: z.string(),
  made_at: z.iso.datetime(),
  /** Folders that paths inside begin with, so that another home can replace them. */
  home: z.strictObject({ state: z.string(), run: z.string(), log: z.string() }),
  /** The stack's descriptor.json. */
  descriptor: z.string(),
  /** The stack's ports.json: `up` looks at what it knows behind these. */
  ports: z.string(),
  /** pgBackRest's passphrase. */
  repository_cipher: z.string(),
  /** Key of encrypted settings. */
  settings_key: z.string(),
  /** The stack's CA, PEM. */
  authority: z.strictObject({ certificate: z.string(), key: z.string() }),
  /** How to get at the far copy: pgbackrest.conf, rclone.conf, and a CA of its own where it has one. */
  far: z
    .strictObject({
      backrest: z.string(),
      rclone: z.string(),
      place: z.string(),
      authority: z.strictObject({ path: z.string(), pem: z.string() }).nullable(),
    })
    .nullable(),
  /** Pulumi's file backend of the stack: what `up` takes over; null with a backend elsewhere. */
  pulumi: z
    .strictObject({ passphrase: z.string(), configuration: z.string(), checkpoint: z.string() })
    .nullable(),
});

export type Escrow = z.infer<typeof escrowDocument>;

/** OpenSSL's format, so that a machine without ctm opens it too. */
const magic = Buffer.from("Salted__");
/** OWASP's figure for PBKDF2 with SHA-256 (https://cheatsheetseries.owasp.org, Password Storage). */
const iterations = 600_000;

/**
 * Encrypts as `openssl enc -aes-256-cbc -pbkdf2 -iter 600000 -salt -a` does; the same with `-d`
 * decrypts. The text carries its own digest, for this format has none.
 */
export function seal(text: string, passphrase: string): string {
  const salt = randomBytes(8);
  const { key, iv } = keyOf(passphrase, salt);
  const cipher = createCipheriv("aes-256-cbc", key, iv);
  const body = Buffer.concat([cipher.update(withDigest(text), "utf8"), cipher.final()]);
  const encoded = Buffer.concat([magic, salt, body]).toString("base64");
  return `${encoded.replaceAll(/(.{64})/g, "$1\n").trimEnd()}\n`;
}

export function isSealed(content: string): boolean {
  return content.startsWith(magic.toString("base64").slice(0, 10));
}

/** @throws CtmError `wrong-passphrase`, also for a file that was changed */
export function unseal(content: string, passphrase: string): string {
  const bytes = Buffer.from(content, "base64");
  const { key, iv } = keyOf(passphrase, bytes.subarray(8, 16));
  try {
    const decipher = createDecipheriv("aes-256-cbc", key, iv);
    const text = decipher.update(bytes.subarray(16), undefined, "utf8") + decipher.final("utf8");
    const [digest, ...rest] = text.split("\n");
    if (digest === digestOf(rest.join("\n"))) return rest.join("\n");
  } catch {
    // Wrong padding: the same mistake, seen earlier.
  }
  throw new CtmError("wrong-passphrase", "the escrow cannot be opened with this passphrase", {
    next: "another passphrase, or another copy of the file",
    exitCode: 2,
  });
}

/** @throws CtmError `escrow-unreadable`, naming what is wrong with it */
export function parseEscrow(text: string, path: string): Escrow {
  const parsed = escrowDocument.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new CtmError(
    "escrow-unreadable",
    `${path}: ${issue === undefined ? "" : `${issue.path.join(".") || "document"}: `}${issue?.message}`,
    { next: "a file that ctm backup passphrase --output wrote", exitCode: 2 },
  );
}

/** The escrow of a stack whose paths begin elsewhere: another CTM_HOME, or another user. */
export function moveEscrow(escrow: Escrow, home: Escrow["home"]): Escrow {
  // A home's path holds nothing but letters, digits and ._/- (checkHome of infra/automation).
  // Longest first: with CTM_HOME the folders for sockets and logs are inside the one for the state.
  const places = [
    [escrow.home.run, home.run],
    [escrow.home.log, home.log],
    [escrow.home.state, home.state],
  ] as const;
  const sorted = places.toSorted(([one], [other]) => other.length - one.length);
  const pattern = new RegExp(
    sorted.map(([from]) => `${from.replaceAll(".", String.raw`\.`)}(?=[/"\\s]|$)`).join("|"),
    "gm",
  );
  const target = new Map<string, string>(sorted.map(([from, to]) => [from, to]));
  const move = (text: string): string =>
    text.replaceAll(pattern, (from) => target.get(from) ?? from);
  return {
    ...escrow,
    home,
    descriptor: move(escrow.descriptor),
    far: escrow.far === null ? null : { ...escrow.far, backrest: move(escrow.far.backrest) },
    pulumi:
      escrow.pulumi === null
        ? null
        : { ...escrow.pulumi, checkpoint: move(escrow.pulumi.checkpoint) },
  };
}

function keyOf(passphrase: string, salt: Uint8Array): { key: Buffer; iv: Buffer } {
  const derived = pbkdf2Sync(passphrase, salt, iterations, 48, "sha256");
  return { key: derived.subarray(0, 32), iv: derived.subarray(32) };
}

function withDigest(text: string): string {
  return `${digestOf(text)}\n${text}`;
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
