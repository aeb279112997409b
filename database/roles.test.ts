import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { databasePrivileges, roles, schemaPrivileges } from "./roles.ts";
import { rolesSql, rolesSqlPath } from "./roles-sql.ts";

test("roles.sql is what roles.ts generates", async () => {
  expect(await readFile(rolesSqlPath, "utf8")).toBe(rolesSql());
});

test("a role comes after the roles of ours that it is a member of", () => {
  const seen = new Set<string>();
  for (const role of roles) {
    for (const group of role.memberOf.filter((name) => !name.startsWith("pg_"))) {
      expect(seen, `${role.name} is a member of ${group}`).toContain(group);
    }
    seen.add(role.name);
  }
});

test("privileges name only roles of the table", () => {
  const names = roles.map(({ name }) => name);
  for (const { role } of [...databasePrivileges, ...schemaPrivileges]) {
    expect(names).toContain(role);
  }
});

test("the query role is a member of nothing", () => {
  expect(roles.find(({ name }) => name === "ctm_query")?.memberOf).toEqual([]);
});
