import { planMigrations } from "#database";
import { defineCommand } from "../command.ts";
import { describePlan } from "./describe-plan.ts";
import { planDocument, planOf } from "./plan-document.ts";
import { targetConnection, urlFlag } from "./target.ts";

export const command = defineCommand({
  help: "Shows what `migrate up` would do: the SQL of each pending file, the locks that it takes and on how large a table, lint findings, the change of the schema. The files are tried on a copy of the database when nobody is connected and it is small, else on empty tables of a scratch server; the database itself is not changed. Exit 3 when it would fail or a lint finds an error.",
  examples: [
    { run: "ctm migrate plan", does: "for the stack" },
    { run: "ctm migrate plan --json", does: "for a program" },
  ],
  arguments: {},
  flags: { url: urlFlag },
  document: planDocument,
  async run({ url }, context) {
    const connection = await targetConnection(url, context);
    return planOf(
      await planMigrations(connection, {
        signal: context.signal,
        onProgress: (text) => context.progress.step(text),
      }),
    );
  },
  render: describePlan,
  exitCode: ({ failure, findings }) =>
    failure === null && findings.every(({ level }) => level !== "error") ? 0 : 3,
});
