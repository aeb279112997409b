import { z } from "zod";
import { newMigration } from "#database";
import { defineCommand } from "../command.ts";
import { repeated, textUpTo, toggle } from "../parameters.ts";

export const command = defineCommand({
  help: "Writes an empty migration with the next number into database/migrations. One intent a file: what changes together is applied or refused together.",
  examples: [
    { run: "ctm migrate new add due date to tasks", does: "NNN_add_due_date_to_tasks.sql" },
    {
      run: "ctm migrate new index tasks by due date --no-transaction",
      does: "for one CREATE INDEX CONCURRENTLY",
    },
  ],
  arguments: { name: repeated("NAME", "what it does", textUpTo(200), { required: true }) },
  flags: { noTransaction: toggle("for the one statement that refuses a transaction") },
  document: z.strictObject({ version: z.string(), path: z.string() }),
  async run({ name, noTransaction }) {
    return await newMigration(name.join(" "), { transactional: !noTransaction });
  },
  render: ({ path }) => `${path}\nnext: write it, then ctm migrate plan`,
});
