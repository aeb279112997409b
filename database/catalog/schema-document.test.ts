import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { currentSchemaDocument, schemaDocument, schemaDocumentPath } from "./schema-document.ts";

it("docs/schema.md is what the migrations make", { timeout: 60_000 }, async () => {
  const current = await currentSchemaDocument();
  expect(
    await readFile(schemaDocumentPath, "utf8"),
    "stale: run node database/catalog/schema-document.ts",
  ).toBe(current);
});

it("writes columns, policies, grants and references for people", () => {
  const column = { nullable: false, default: null, comment: null, primaryKey: false };
  const nothing = { constraints: [], indexes: [], triggers: [], policies: [], references: [] };
  const document = schemaDocument({
    relations: [
      {
        ...nothing,
        name: "notes",
        kind: "table",
        comment: "What people wrote.",
        partitionedBy: null,
        rowSecurity: "forced",
        securityInvoker: false,
        columns: [
          { ...column, name: "id", type: "bigint", primaryKey: true },
          { ...column, name: "person", type: "bigint", nullable: true, comment: "who | when" },
          { ...column, name: "secret", type: "text" },
        ],
        policies: [
          {
            name: "own",
            permissive: true,
            command: "select",
            roles: ["people"],
            using: "(person = 1)",
            check: null,
            comment: null,
          },
        ],
        grants: [{ role: "people", privileges: ["select"], columns: ["id", "person"] }],
        references: [{ table: "persons", columns: ["person"], optional: true, unique: false }],
      },
    ],
    routines: [],
  });
  expect(document).toContain(
    "    persons |o--o{ notes : person\n    notes {\n        bigint id PK\n        bigint person FK\n    }\n",
  );
  expect(document).toContain(`### notes

What people wrote.

| Column   | Type   | Null | Default | What it is  |
| -------- | ------ | ---- | ------- | ----------- |
| \`id\`     | bigint |      |         |             |
| \`person\` | bigint | yes  |         | who \\| when |
| \`secret\` | text   |      |         |             |

Row security is on, for its owner too:

- \`own\`: select, for people
  - lets rows through: \`(person = 1)\`

| Role   | May    | Of               |
| ------ | ------ | ---------------- |
| people | select | all but \`secret\` |
`);
});
