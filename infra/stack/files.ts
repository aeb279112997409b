// Where the files stand that the program writes and that an escrow takes along and puts back.
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
  /** Pulumi's copy of the checkpoint, from before it last wrote it. */
  checkpointCopy: string;
  /** Where a checkpoint is put aside that was cut off. No stack to Pulumi: it ends in no `.json`. */
  brokenCheckpoint: string;
  /** The stack's configuration, as the last run used it. */
  configuration: string;
}

export function backendFiles({
  pulumi,
  stack,
}: Pick<StackPaths, "pulumi" | "stack">): BackendFiles {
  const folder = join(pulumi, "backend");
  const checkpoint = join(folder, ".pulumi", "stacks", "ctm", `${stack}.json`);
  return {
    folder,
    passphrase: join(pulumi, "passphrase"),
    checkpoint,
    checkpointCopy: `${checkpoint}.bak`,
    brokenCheckpoint: `${checkpoint}.broken`,
    configuration: join(pulumi, `Pulumi.${stack}.yaml`),
  };
}

/**
 * What says whose data a folder holds: the name of a stack. Beside the folder, so that initdb finds the
 * folder itself empty; a folder with content and without it is somebody else's.
 */
export function dataMark(folder: string): string {
  return `${folder}.ctm`;
}

/** The stack's own CA, PEM. */
export function authorityFiles({ tls }: Pick<StackPaths, "tls">): {
  certificate: string;
  key: string;
} {
  return { certificate: join(tls, "ca.crt"), key: join(tls, "ca.key") };
}

/** What gets at the far copy and keeps it, in a folder of PostgreSQL's user. */
export interface FarFiles {
  folder: string;
  /** The copier's program and its configuration. */
  bundle: string;
  configuration: string;
  /** With the bucket's keys: rclone.conf, and pgbackrest.conf whose repo1 is the bucket. */
  rclone: string;
  backrest: string;
  /** What the copier last did: see ops/recovery/copier/state.ts. */
  state: string;
}

export function farFiles({ state }: Pick<StackPaths, "state">): FarFiles {
  const folder = join(state, "far");
  return {
    folder,
    bundle: join(folder, "copier.mjs"),
    configuration: join(folder, "copier.json"),
    rclone: join(folder, "rclone.conf"),
    backrest: join(folder, "pgbackrest.conf"),
    state: join(folder, "state.json"),
  };
}
