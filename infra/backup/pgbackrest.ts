import { z } from "zod";
import { run, runAs } from "#system";

/** How to call pgBackRest for one member. */
export interface Backrest {
  /** pgbackrest.conf in which that member is pg1. */
  configuration: string;
  stanza: string;
  /** OS user that runs PostgreSQL: files of any other user would block the archive. */
  user: string;
}

const stanzaInfo = z.array(
  z.object({
    name: z.string(),
    status: z.object({ code: z.number(), message: z.string() }),
    backup: z
      .array(
        z.object({
          label: z.string(),
          type: z.enum(["full", "diff", "incr"]),
          error: z.boolean().nullable().optional(),
          archive: z.object({ start: z.string().nullable(), stop: z.string().nullable() }),
          timestamp: z.object({ start: z.number(), stop: z.number() }),
          info: z.object({
            size: z.number(),
            repository: z.object({ size: z.number().optional(), delta: z.number().optional() }),
          }),
          prior: z.string().nullable().optional(),
        }),
      )
      .default([]),
    archive: z
      .array(z.object({ id: z.string(), min: z.string().nullable(), max: z.string().nullable() }))
      .default([]),
  }),
);
export type StanzaInfo = z.infer<typeof stanzaInfo>[number];

/** What `pgbackrest info` knows of the stanza, or undefined when there is none in the repository. */
export async function stanzaInfoOf(backrest: Backrest): Promise<StanzaInfo | undefined> {
  const { stdout } = await pgbackrest(backrest, ["--output=json", "info"], { timeoutMs: 60_000 });
  return stanzaInfo
    .parse(JSON.parse(stdout))
    .find(({ name, status }) => name === backrest.stanza && status.code !== 1);
}

/** Runs pgBackRest as PostgreSQL's OS user, from a folder that this user can enter. */
export async function pgbackrest(
  backrest: Backrest,
  args: readonly string[],
  options: { timeoutMs: number; onLine?: (line: string) => void },
): Promise<{ stdout: string }> {
  return await run(
    "pgbackrest",
    [`--config=${backrest.configuration}`, `--stanza=${backrest.stanza}`, ...args],
    {
      ...options,
      ...(await runAs(backrest.user)),
      cwd: "/",
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", LC_ALL: "C.UTF-8", TZ: "UTC" },
    },
  );
}
