import { expect, it } from "vitest";
import { closedFunctions as ofTheTasks } from "../../../database/roles.ts";
import { closedFunctions } from "./closed-functions.ts";

it("accepts every function that the database of the tasks closes, and no SQL", () => {
  const inputs = (functions: readonly string[]): unknown => ({
    database: "taskmaster",
    functions: [...functions],
    role: "ctm_owner",
    provisioning: { host: "h", port: 1, authority: "/a", certificate: "/c", key: "/k" },
  });
  expect(closedFunctions.inputs.safeParse(inputs(ofTheTasks)).error).toBeUndefined();
  expect(closedFunctions.inputs.safeParse(inputs(["now() --"])).success).toBe(false);
});
