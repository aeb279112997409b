import { resolve } from "node:path";
import { z } from "zod";
import { CtmError, exists, readFileIfExists, writeFileAtomic } from "#system";
import { badUsage, defineCommand } from "../command.ts";
import { openStack } from "../open-stack.ts";
import { anyText, optional } from "../parameters.ts";
import { gatherEscrow } from "../recovery/escrow-files.ts";
import { seal, type Escrow } from "../recovery/escrow.ts";

const passphraseDocument = z.strictObject({
  /** The file that was written; null where it was shown. */
  output: z.string().nullable(),
  encrypted: z.boolean(),
  holds: z.array(z.string()),
  /** Only on a terminal: the secrets that fit on paper. */
  shown: z.record(z.string(), z.string()).nullable(),
});

export const command = defineCommand({
  help: "The escrow: the secrets without which the backups cannot be read, to be kept where the machine is not. On a terminal it shows those that fit on paper; --output writes a file with everything that a blank machine needs beside the far copy and a clone (ctm restore machine). Write it anew after a rotation of secrets, and after a change of the stack's configuration.",
  examples: [
    { run: "ctm backup passphrase", does: "the secrets, on this terminal" },
    {
      run: "ctm backup passphrase --output escrow.txt --passphrase-file secret.txt",
      does: "all of it in one encrypted file",
    },
  ],
  arguments: {},
  flags: {
    output: optional(
      "FILE",
      "write the whole escrow to a new file, readable by you alone",
      anyText,
    ),
    passphraseFile: optional("FILE", "encrypt it with the passphrase in this file", anyText),
  },
  destructive: true,
  document: passphraseDocument,
  async run({ output, passphraseFile }, context) {
    if (output === undefined && passphraseFile !== undefined) {
      throw badUsage("--passphrase-file is for --output");
    }
    if (output === undefined && (!context.interactive || context.json)) {
      throw new CtmError("no-terminal", "secrets are shown on a terminal only", {
        next: "ctm backup passphrase --output FILE",
        exitCode: 2,
      });
    }
    const passphrase = passphraseFile === undefined ? undefined : await readPhrase(passphraseFile);
    const stack = await openStack(context);
    const escrow = await gatherEscrow(stack, context.env);
    const holds = contentsOf(escrow);
    const path = output === undefined ? null : resolve(output);
    if (path !== null && (await exists(path))) {
      throw new CtmError("file-exists", `${path} exists already`, {
        next: "name a file that does not exist",
        exitCode: 2,
      });
    }
    const where =
      path === null
        ? "on this terminal"
        : `in ${path}, ${passphrase === undefined ? "NOT encrypted" : "encrypted with your passphrase"}`;
    await context.confirm(
      `${holds.join(", ")} of ${escrow.stack} will stand ${where}.\nWhoever reads them can read every backup.`,
    );
    if (path === null) {
      return { output: null, encrypted: false, holds, shown: papersOf(escrow) };
    }
    const text = `${JSON.stringify(escrow, null, 2)}\n`;
    await writeFileAtomic(path, passphrase === undefined ? text : seal(text, passphrase), {
      mode: 0o600,
    });
    return { output: path, encrypted: passphrase !== undefined, holds, shown: null };
  },
  render({ output, encrypted, holds, shown }, paint) {
    if (shown !== null) {
      return Object.entries(shown)
        .map(([name, value]) => `${paint.bold(name)}\n${value}`)
        .join("\n\n");
    }
    return [
      `${output} holds ${holds.join(", ")}${encrypted ? ", encrypted" : ""}`,
      "",
      "next: move it off this machine; on a blank one: ctm restore machine FILE",
    ].join("\n");
  },
});

/** @throws CtmError `bad-passphrase` */
async function readPhrase(path: string): Promise<string> {
  const text = (await readFileIfExists(path))?.replace(/\r?\n$/, "");
  if (text !== undefined && text.length >= 12) return text;
  throw new CtmError(
    "bad-passphrase",
    text === undefined
      ? `${path} does not exist`
      : `the passphrase in ${path} has fewer than 12 characters`,
    { exitCode: 2 },
  );
}

function contentsOf({ far, pulumi }: Escrow): string[] {
  return [
    "the passphrase of the repository",
    "the key of encrypted settings",
    "the CA",
    ...(far === null ? [] : ["the S3 credentials"]),
    ...(pulumi === null ? [] : ["Pulumi's state"]),
  ];
}

/** What can be copied by hand, and what it is good for without the rest. */
function papersOf(escrow: Escrow): Record<string, string> {
  const option = (name: string): string =>
    new RegExp(`^repo1-${name}=(.*)$`, "m").exec(escrow.far?.backrest ?? "")?.[1] ?? "";
  return {
    "passphrase of the repository (repo1-cipher-pass)": escrow.repository_cipher,
    "key of encrypted settings": escrow.settings_key,
    ...(escrow.far === null
      ? {}
      : {
          "far copy": `${escrow.far.place} at ${option("s3-endpoint")}:${option("storage-port")}, region ${option("s3-region")}`,
          "S3 access key": option("s3-key"),
          "S3 secret key": option("s3-key-secret"),
        }),
    CA: `${escrow.authority.certificate}${escrow.authority.key}`.trimEnd(),
  };
}
