import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { describeApi } from "./describe-api.ts";

test("openapi.json is what the routes say (node api/describe-api.ts writes it anew)", async () => {
  const stored: unknown = JSON.parse(
    await readFile(new URL("openapi.json", import.meta.url), "utf8"),
  );
  // Through text, as the stored one: what JSON cannot hold must not make a difference.
  expect(JSON.parse(JSON.stringify(await describeApi()))).toEqual(stored);
});

test("every reference of openapi.json leads somewhere", async () => {
  const document = await describeApi();
  const references = JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g);
  const names = new Set([...references].map((match) => match[1]));
  expect(names.size).toBeGreaterThan(3);
  for (const name of names) expect(document).toHaveProperty(`components.schemas.${name}`);
});
