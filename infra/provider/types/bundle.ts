import { createHash } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { CtmError, exists, isMissing, makeDirectory, writeFileAtomic } from "#system";
import { bundleApi } from "../../../api/index.ts";
import { bundleCopier } from "../../../ops/recovery/index.ts";
import { defineResourceType } from "../resource-type.ts";

/** How each program of ours becomes one file. */
const programs = { api: bundleApi, copier: bundleCopier };

const inputs = z.strictObject({
  program: z.enum(["api", "copier"]),
  /** Where the one-file program is put, outside the checkout: its user cannot enter that. */
  path: z.string().startsWith("/"),
  /** Of the bundle's bytes, lower-case hex. */
  sha256: z.string(),
});
export type BundleInputs = z.infer<typeof inputs>;

/** When the API was the only program of ours, whose name no state then held. */
export const formerBundleToken = "ctm:api:Bundle";

/** A service of ours as one file that runs without the checkout. */
export const bundle = defineResourceType<BundleInputs, BundleInputs>({
  token: "ctm:host:Bundle",
  formerTokens: [formerBundleToken],
  inputs,
  secrets: [],
  replacedBy: ["program", "path"],
  async create(wanted) {
    await install(wanted);
    return { id: wanted.path, outputs: wanted };
  },
  async read(_id, state) {
    try {
      return {
        ...state,
        program: state.program ?? "api",
        sha256: sha256(await readFile(state.path)),
      };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },
  async update(_id, _state, wanted) {
    await install(wanted);
    return wanted;
  },
  async delete(_id, state) {
    await rm(state.path, { force: true });
  },
});

async function install(wanted: BundleInputs): Promise<void> {
  const built = await programs[wanted.program]();
  if (built.sha256 !== wanted.sha256) {
    throw new CtmError(
      "source-changed",
      `the source of ${wanted.program} changed while up was running`,
      {
        next: "npm run up",
      },
    );
  }
  if (!(await exists(dirname(wanted.path)))) {
    await makeDirectory(dirname(wanted.path), { mode: 0o755 });
  }
  await writeFileAtomic(wanted.path, built.code, { mode: 0o644 });
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
