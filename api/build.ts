import { bundleProgram, type Bundle } from "../system/bundle.ts";

/** The service as one file: the unprivileged user that runs it cannot read the checkout. */
export async function bundleApi(): Promise<Bundle> {
  return await bundleProgram("api/src/main.ts");
}
