import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

/** A program as one file, and the digest of its bytes in lower-case hex. */
export interface Bundle {
  code: Uint8Array;
  sha256: string;
}

/**
 * A program as one file of JavaScript modules that needs nothing but Node: no node_modules, so
 * that a user who cannot read the checkout runs it. The bytes depend on the sources only, never on
 * where the checkout is, so that their digest tells whether the service must be restarted.
 *
 * Not part of #system: whoever bundles is the only one who loads esbuild.
 *
 * @param entry relative to the checkout
 */
export async function bundleProgram(entry: string): Promise<Bundle> {
  const result = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    target: "node22",
    // Identifiers too: without that, esbuild names CommonJS modules by their paths. Functions keep
    // their names for stack traces.
    minify: true,
    keepNames: true,
    legalComments: "none",
    charset: "utf8",
    lineLimit: 160,
    // pg loads its native driver only when asked to, which no service of ours does.
    external: ["pg-native"],
    // The bundled CommonJS modules require Node's own ones.
    banner: {
      js: 'import{createRequire as ctmCreateRequire}from"node:module";const require=ctmCreateRequire(import.meta.url);',
    },
    logLevel: "silent",
  });
  const [file] = result.outputFiles;
  if (file === undefined) throw new Error("esbuild wrote no file");
  return { code: file.contents, sha256: createHash("sha256").update(file.contents).digest("hex") };
}
