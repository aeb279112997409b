import { describe, expect, test } from "vitest";
import { parseJson } from "./parse-json.ts";

describe("a JSON body", () => {
  test.each<[string, string, RegExp]>([
    ["is cut off", '{"title":"x"', /not valid JSON/],
    ["is empty", "", /not valid JSON/],
    ["nests too deep in lists", "[".repeat(33) + "]".repeat(33), /deeper than 32/],
    ["nests too deep in objects", '{"a":'.repeat(33) + "1" + "}".repeat(33), /deeper than 32/],
    ["nests a million deep", "[".repeat(1_000_000), /deeper than 32/],
    ["has a NUL in a value", '{"title":"a\\u0000b"}', /NUL/],
    ["has a NUL in a key", '{"a\\u0000b":1}', /NUL/],
    ["has a NUL deep inside", '{"a":[{"b":"\\u0000"}]}', /NUL/],
    ["has a lone first half of a surrogate pair", '{"title":"\\ud83d"}', /surrogate/],
    ["has a lone second half of a surrogate pair", '{"title":"\\uDE00x"}', /surrogate/],
    ["sets a prototype", '{"__proto__":{"admin":true}}', /__proto__/],
    ["sets a prototype, written as an escape", '{"\\u005f_proto__":{"admin":true}}', /__proto__/],
  ])("that %s is refused", (_what, text, message) => {
    expect(() => parseJson(text)).toThrow(message);
  });

  test.each<[string, string, unknown]>([
    ["32 levels", "[".repeat(32) + "]".repeat(32), expect.anything()],
    ["brackets inside text", `{"a":"${"[".repeat(100)}"}`, { a: "[".repeat(100) }],
    ["an escaped quote before brackets", `{"a":"\\"${"[".repeat(100)}"}`, expect.anything()],
    ["a whole surrogate pair", '"\\ud83d\\ude00"', "😀"],
    ["an escaped backslash before u0000", '"\\\\u0000"', "\\u0000"],
  ])("with %s is taken", (_what, text, value) => {
    expect(parseJson(text)).toEqual(value);
  });
});
