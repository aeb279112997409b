import { z } from "zod";

/** What the copier reads at its start; the keys are in rclone's own file. */
export const copierConfiguration = z.strictObject({
  stanza: z.string(),
  /** Folder of the near repository. */
  near: z.string(),
  /** rclone's name of the far one, such as far:bucket/ctm/local. */
  far: z.string(),
  /** rclone.conf, with the keys. */
  rclone: z.string(),
  /** PEM file of the CA that signed the far place's certificate; null for those of the system. */
  authority: z.string().nullable(),
  /** pgBackRest's configuration with the near repository. */
  backrest: z.string(),
  /** Written anew in every round: see state.ts. */
  state: z.string(),
  windowDays: z.int(),
  /** Seconds between two rounds. */
  everySeconds: z.number().positive(),
});

export type CopierConfiguration = z.infer<typeof copierConfiguration>;
