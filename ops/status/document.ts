import { z } from "zod";
import { gapDocument } from "../recovery/gap-document.ts";
import { restoreSteps } from "../recovery/restore-state.ts";
import { findingDocument, objectivesDocument, scheduleDocument } from "../recovery/schedule.ts";

const door = z.strictObject({
  host: z.string(),
  port: z.int(),
  database: z.string(),
  /** Name of the member that answers there now. */
  member: z.string().nullable(),
  reachable: z.boolean().nullable(),
});

const time = z.iso.datetime();

/** What `ctm status --json` prints: unknown is null, never empty. */
export const statusDocument = z.strictObject({
  stack: z.string(),
  healthy: z.boolean(),
  /** Why it is not healthy. */
  problems: z.array(findingDocument),
  /** What will make it unhealthy when nobody acts. */
  warnings: z.array(findingDocument),
  checked_at: time,
  postgres: z.strictObject({
    version: z.string().nullable(),
    primary: z.string().nullable(),
    paused: z.boolean().nullable(),
    members: z.array(
      z.strictObject({
        name: z.string(),
        role: z.string().nullable(),
        state: z.string().nullable(),
        timeline: z.int().nullable(),
        lag_bytes: z.int().nullable(),
      }),
    ),
    rw: door,
    ro: door,
  }),
  services: z.array(z.strictObject({ name: z.string(), state: z.string().nullable() })).nullable(),
  backup: z.strictObject({
    last_full_at: time.nullable(),
    last_at: time.nullable(),
    running: z.boolean().nullable(),
    recoverable_from: time.nullable(),
    recoverable_to: time.nullable(),
    /** Of the near repository; `ctm backup audit` looks at every one. */
    gaps: z.array(gapDocument).nullable(),
    repositories: z
      .array(
        z.strictObject({
          name: z.string(),
          number: z.int(),
          kind: z.enum(["posix", "s3"]),
          path: z.string(),
          status: z.string().nullable(),
          backups: z.int().nullable(),
          newest_wal: z.string().nullable(),
          /** What a copy lacks of the near one, and for how long; 0 for the near one itself. */
          behind_bytes: z.int().nullable(),
          behind_ms: z.int().nullable(),
        }),
      )
      .nullable(),
    archive: z
      .strictObject({
        last_wal: z.string().nullable(),
        failing: z.boolean(),
        waiting_segments: z.int(),
      })
      .nullable(),
    objectives: objectivesDocument,
    schedule: scheduleDocument,
    last_drill: z
      .strictObject({
        at: time,
        ok: z.boolean(),
        rto_ms: z.int().nullable(),
        rpo_ms: z.int().nullable(),
      })
      .nullable(),
  }),
  api: z.strictObject({
    url: z.string(),
    admin_url: z.string(),
    version: z.string().nullable(),
    ready: z.boolean(),
    pools: z
      .array(z.strictObject({ name: z.string(), busy: z.int(), max: z.int(), waiting: z.int() }))
      .nullable(),
  }),
  /** Cloudflare before the API; null where there is none. */
  edge: z
    .strictObject({
      url: z.string(),
      /** That cloudflared holds to Cloudflare. */
      connections: z.int().nullable(),
    })
    .nullable(),
  /** A restore in place that is neither confirmed nor undone; null where there is none. */
  restore: z
    .strictObject({
      target: z.string(),
      /** `done`, or where it is, or was ended. */
      step: z.enum(restoreSteps),
      /** Where the old data is, and until when. */
      kept: z.string(),
      expires_at: time.nullable(),
    })
    .nullable(),
  schema: z.strictObject({ version: z.string().nullable(), pending: z.int().nullable() }),
  alerts: z.strictObject({
    firing: z.array(z.strictObject({ name: z.string(), severity: z.string() })).nullable(),
  }),
});

export type StatusDocument = z.infer<typeof statusDocument>;
