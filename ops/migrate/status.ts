import { z } from "zod";
import { migrationStatus } from "#database";
import { defineCommand } from "../command.ts";
import { table } from "../paint.ts";
import {
  appliedDocument,
  appliedOf,
  editedDocument,
  editedOf,
  fileDocument,
  fileOf,
} from "./document.ts";
import { targetConnection, urlFlag } from "./target.ts";

export const command = defineCommand({
  help: "Lists the migrations that the database has and those that are pending. Reads only. Exit 3 when an applied file was edited or is gone.",
  examples: [
    { run: "ctm migrate status", does: "of the stack" },
    {
      run: "ctm migrate status --url postgresql://ctm_migrator@db:5432/taskmaster",
      does: "of any server",
    },
  ],
  arguments: {},
  flags: { url: urlFlag },
  document: z.strictObject({
    schema_version: z.string().nullable(),
    applied: z.array(appliedDocument),
    pending: z.array(fileDocument),
    edited: z.array(editedDocument),
    missing: z.array(appliedDocument),
  }),
  async run({ url }, context) {
    const status = await migrationStatus(await targetConnection(url, context));
    return {
      schema_version: status.schemaVersion,
      applied: status.applied.map(appliedOf),
      pending: status.pending.map(fileOf),
      edited: status.edited.map(editedOf),
      missing: status.missing.map(appliedOf),
    };
  },
  render(document, paint) {
    const edited = new Set(document.edited.map(({ version }) => version));
    const missing = new Set(document.missing.map(({ version }) => version));
    const rows = document.applied.map((row) => [
      row.version,
      row.description ?? "",
      row.applied_at ?? "unknown",
      row.duration_ms === null ? "" : String(row.duration_ms),
      row.actor ?? "",
      edited.has(row.version)
        ? paint.bad("file was edited")
        : missing.has(row.version)
          ? paint.bad("no such file")
          : row.adopted
            ? "found applied"
            : paint.good("applied"),
    ]);
    const pending = document.pending.map(({ version, name }) => [
      version ?? "",
      name,
      "",
      "",
      "",
      paint.warning("pending"),
    ]);
    return [
      table([["VERSION", "WHAT", "APPLIED AT", "MS", "BY", "STATE"], ...rows, ...pending], paint),
      "",
      nextStep(document),
    ].join("\n");
  },
  exitCode: ({ edited, missing }) => (edited.length + missing.length === 0 ? 0 : 3),
});

function nextStep(document: { pending: unknown[]; edited: unknown[]; missing: unknown[] }): string {
  if (document.edited.length + document.missing.length > 0) return "next: ctm migrate verify";
  return document.pending.length > 0
    ? "next: ctm migrate plan"
    : "Nothing is pending. next: ctm migrate verify";
}
