import { expect, test } from "vitest";
import { nameStackInDocument, nameStackInText } from "./name-stack.ts";

test("each line that proposes something names the stack, and no other line changes", () => {
  const text =
    "ctm start is not run\n  next: ctm start\nnext: ctm key rotate ID, or ctm key revoke ID";
  expect(nameStackInText(text, "blue")).toBe(
    "ctm start is not run\n  next: ctm --stack blue start\nnext: ctm --stack blue key rotate ID, or ctm --stack blue key revoke ID",
  );
});

test.each([
  ["npm run up writes it anew", "npm run up -- --stack blue writes it anew"],
  ["npm run up -- --stack blue", "npm run up -- --stack blue"],
  ["run as root", "run as root"],
  [null, null],
])("a document's next %s becomes %s", (next, expected) => {
  expect(nameStackInDocument({ problems: [{ message: "ctm start", next }] }, "blue")).toEqual({
    problems: [{ message: "ctm start", next: expected }],
  });
});
