import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * The service as one file of JavaScript modules that needs nothing but Node: no node_modules, so
 * that a user who cannot read the checkout runs it. The bytes depend on the sources only, never on
 * where the checkout is, so that their digest tells whether the service must be restarted.
 */
export async function bundleApi(): Promise<{ code: Uint8Array; sha256: string }> {
  const result = await build({
    absWorkingDir: root,
    entryPoints: ["api/src/main.ts"],
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
    // pg loads its native driver only when asked to, which the API never does.
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
