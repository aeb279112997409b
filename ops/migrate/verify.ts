import { z } from "zod";
import { describeDifference, isVerified, verifyMigrations } from "#database";
import { defineCommand } from "../command.ts";
import { countText } from "../text.ts";
import {
  appliedDocument,
  appliedOf,
  differenceDocument,
  editedDocument,
  editedOf,
  fileDocument,
  fileOf,
} from "./document.ts";
import { targetConnection, urlFlag } from "./target.ts";

export const command = defineCommand({
  help: "Checks that each applied file is still what was applied, and that the schema is what the files make: they are run on a scratch server of the same version, and the two catalogs compared. Reads only. Exit 3 when something differs or cannot be compared; pending files are no fault.",
  examples: [{ run: "ctm migrate verify", does: "whether somebody changed the schema by hand" }],
  arguments: {},
  flags: { url: urlFlag },
  document: z.strictObject({
    ok: z.boolean(),
    schema_version: z.string().nullable(),
    pending: z.array(fileDocument),
    edited: z.array(editedDocument),
    missing: z.array(appliedDocument),
    drift: z.array(differenceDocument).nullable(),
    drift_unknown: z.string().nullable(),
  }),
  async run({ url }, context) {
    const found = await verifyMigrations(await targetConnection(url, context), {
      onProgress: (text) => context.progress.step(text),
    });
    return {
      ok: isVerified(found),
      schema_version: found.schemaVersion,
      pending: found.pending.map(fileOf),
      edited: found.edited.map(editedOf),
      missing: found.missing.map(appliedOf),
      drift: found.drift,
      drift_unknown: found.driftUnknown,
    };
  },
  render(document, paint) {
    const lines = [
      ...document.edited.map(
        ({ path, applied_sha256: applied, file_sha256: now }) =>
          `${path} was edited after it was applied\n  applied: ${applied}\n  now:     ${now}`,
      ),
      ...document.missing.map(
        ({ version, description }) =>
          `${version}${description === null ? "" : ` (${description})`} is applied, and there is no file of it`,
      ),
      ...(document.drift ?? []).map(describeDifference),
      ...(document.drift_unknown === null
        ? []
        : [`the schema was not compared: ${document.drift_unknown}`]),
    ];
    const pending =
      document.pending.length === 0
        ? ""
        : ` ${countText(document.pending.length, "file")} pending.`;
    return document.ok
      ? `${paint.good("The schema is what the migrations make")}, at ${document.schema_version}.${pending}`
      : [
          paint.bad(countText(lines.length, "difference")),
          "",
          ...lines,
          "",
          "next: undo the change by hand, or make it a migration: ctm migrate new NAME",
        ].join("\n");
  },
  exitCode: ({ ok }) => (ok ? 0 : 3),
});
