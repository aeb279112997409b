import { expect, test } from "vitest";
import { readTableName } from "./table-name.ts";

test.each([
  ["tasks", "public", "tasks"],
  ["sales.tasks", "sales", "tasks"],
  [" tasks ", "public", "tasks"],
  ["Old Tasks", "public", "Old Tasks"],
  ['"Old Tasks"', "public", "Old Tasks"],
  ['Sales."Old Tasks"', "Sales", "Old Tasks"],
  ['"sales"."v1.0 ""final"""', "sales", 'v1.0 "final"'],
  ["täsks", "public", "täsks"],
])("%s is a table", (text, schema, name) => {
  expect(readTableName(text)).toEqual({ schema, name });
});

test.each(["", " ", ".", "tasks.", ".tasks", "a.b.c", '"tasks', 'ta"sks', '""'])(
  "%s is none",
  (text) => {
    expect(readTableName(text)).toBeUndefined();
  },
);
