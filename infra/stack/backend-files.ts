import { join } from "node:path";
import type { StackPaths } from "./paths.ts";

/** What Pulumi's own file backend of this machine holds of one stack. */
export interface BackendFiles {
  /** The backend, of all stacks. */
  folder: string;
  /** Opens the secrets in the checkpoints, of all stacks. */
  passphrase: string;
  /** The stack's state (pkg/backend/diystate of Pulumi: `.pulumi/stacks/PROJECT/STACK.json`). */
  checkpoint: string;
  /** The stack's configuration, as the last run used it. */
  configuration: string;
}

export function backendFiles({
  pulumi,
  stack,
}: Pick<StackPaths, "pulumi" | "stack">): BackendFiles {
  const folder = join(pulumi, "backend");
  return {
    folder,
    passphrase: join(pulumi, "passphrase"),
    checkpoint: join(folder, ".pulumi", "stacks", "ctm", `${stack}.json`),
    configuration: join(pulumi, `Pulumi.${stack}.yaml`),
  };
}
