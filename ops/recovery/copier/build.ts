import { bundleProgram, type Bundle } from "../../../system/bundle.ts";

/** The copier as one file: PostgreSQL's user, who runs it, cannot read the checkout. */
export async function bundleCopier(): Promise<Bundle> {
  return await bundleProgram("ops/recovery/copier/main.ts");
}
