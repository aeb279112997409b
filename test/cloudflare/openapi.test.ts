import { describe, expect, it } from "vitest";
import { ApiDescription } from "./openapi.ts";
import { recordedCalls } from "./recording.ts";

const description = new ApiDescription();

/** Not described by Cloudflare's subset: its body is one name. */
const undescribed = /\/settings\//;

describe("the description accepts what the official provider sends:", () => {
  const bodies = recordedCalls().filter(
    ({ path, body, operation }) =>
      body !== null && !undescribed.test(path) && !operation.endsWith("Secret"),
  );

  it.each(bodies)("$type $operation $for", ({ method, path, body }) => {
    expect(description.problemsOf(method, path, body)).toEqual([]);
  });

  it.each(bodies)("and refuses it with any name of a wrong type: $type $operation $for", (call) => {
    const { method, path, body } = call;
    if (typeof body !== "object" || body === null || Array.isArray(body)) return;
    for (const name of Object.keys(body)) {
      // Dynamic: any object does.
      if (name === "action_parameters" || name === "settings") continue;
      const broken = { ...body, [name]: { not: "this" } };
      if (name === "config" || name === "filters" || name === "mechanisms") {
        Object.assign(broken, { [name]: 7 });
      }
      expect(description.problemsOf(method, path, broken), name).not.toEqual([]);
    }
  });
});

it("knows no other paths", () => {
  expect(description.problemsOf("POST", "/accounts/a/access/certificates", {})).toEqual([
    "POST /accounts/a/access/certificates is not described",
  ]);
});
