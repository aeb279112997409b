import { expect, it } from "vitest";
import type { EdgeRequest } from "../model.ts";
import { requestOf } from "../testing/requests.ts";
import { bytesOfText } from "./bytes.ts";
import { compileExpression } from "./compile.ts";
import { implementations, type Evaluated } from "./function-values.ts";
import { parseExpression } from "./parse.ts";
import { normalisedPath, RequestFields } from "./request-fields.ts";

const holds = (expression: string, request: Partial<EdgeRequest> = {}): boolean =>
  compileExpression(parseExpression(expression))(new RequestFields(requestOf(request)));

const raw = { body: "asdfghjk" };
const json = (value: unknown): Partial<EdgeRequest> => ({ body: JSON.stringify(value) });
const header = (name: string, ...values: string[]): Partial<EdgeRequest> => ({
  headers: { [name]: values },
});

/**
 * The examples of https://developers.cloudflare.com/ruleset-engine/rules-language/functions/ and
 * operators/, each as an expression that must hold, or (with "not") must not.
 */
it.each<[expression: string, request: Partial<EdgeRequest>]>([
  // Functions.
  ['any(http.request.headers["a"][*] contains "x")', header("a", "no", "xss")],
  ['not any(http.request.headers["a"][*] contains "x")', header("a", "no")],
  ['not any(http.request.headers["a"][*] contains "x")', {}],
  [
    'all(http.request.headers["content-type"][*] == "application/json")',
    header("Content-Type", "application/json", "application/json"),
  ],
  [
    'not all(http.request.headers["content-type"][*] == "application/json")',
    header("Content-Type", "application/json", "text/html"),
  ],
  ["cidr(ip.src, 24, 24) eq 113.10.0.0", { ip: "113.10.0.2" }],
  ["cidr(ip.src, 24, 24) eq 2001::", { ip: "2001:0000:130F:0000:0000:09C0:876A:130B" }],
  ["cidr6(ip.src, 24) eq 2001::", { ip: "2001:0000:130F:0000:0000:09C0:876A:130B" }],
  ["cidr6(ip.src, 24) eq 113.10.0.2", { ip: "113.10.0.2" }],
  ['concat("String1", " ", "String", "2") eq "String1 String2"', {}],
  [
    'concat(http.request.headers["a"], http.request.headers["b"])[1] eq "2"',
    { headers: { a: "1", b: "2" } },
  ],
  [
    'any(decode_base64(http.request.headers["client_id"][*])[*] eq "123abc")',
    header("client_id", "MTIzYWJj"),
  ],
  ['ends_with(http.request.uri.path, ".html")', { path: "/welcome.html" }],
  ['not ends_with(http.request.uri.path, ".html")', { path: "/welcome.htm" }],
  ['join(http.request.headers.names, ",") eq "a,b"', { headers: { A: "1", b: "2" } }],
  ["len(http.host) eq 11", { host: "example.com" }],
  ["len(http.request.uri.query) eq 3", { query: "☁" }],
  ["len(http.request.headers.names) eq 2", { headers: { a: "1", b: "2" } }],
  [
    'lookup_json_integer(http.request.body.raw, "version") eq 2',
    json({ record_id: "aed53a", version: 2 }),
  ],
  [
    'lookup_json_integer(http.request.body.raw, "product", "id") eq 356',
    json({ product: { id: 356 } }),
  ],
  ["lookup_json_integer(http.request.body.raw, 1) eq -234", json(["first_item", -234])],
  [
    'lookup_json_integer(http.request.body.raw, "network_ids", 0) eq 123',
    json({ network_ids: [123, 456] }),
  ],
  [
    'lookup_json_integer(http.request.body.raw, 1, "product_id") eq 456',
    json([{ product_id: 123 }, { product_id: 456 }]),
  ],
  [
    'lookup_json_string(http.request.body.raw, "company") == "cloudflare"',
    json({ company: "cloudflare", product: "rulesets" }),
  ],
  [
    'lookup_json_string(http.request.body.raw, "network", "name") == "cloudflare"',
    json({ network: { name: "cloudflare" } }),
  ],
  [
    'lookup_json_string(http.request.body.raw, 1) == "cloudflare"',
    json(["other_company", "cloudflare"]),
  ],
  [
    'lookup_json_string(http.request.body.raw, "networks", 1) == "cloudflare"',
    json({ networks: ["other_company", "cloudflare"] }),
  ],
  [
    'lookup_json_string(http.request.body.raw, "a") eq "\u0027"',
    { body: String.raw`{"a": "\u0027"}` },
  ],
  ['not lookup_json_string(http.request.body.raw, "a") eq ""', { body: "no JSON" }],
  ['lower(http.host) == "www.cloudflare.com"', { host: "WWW.cloudflare.com" }],
  ['lower(http.request.uri.query) eq "É"', { query: "É" }],
  [
    String.raw`remove_bytes(http.host, "\x2e\x77") eq "cloudflarecom"`,
    { host: "www.cloudflare.com" },
  ],
  ['starts_with(http.request.uri.path, "/blog")', { path: "/blog/first-post" }],
  ['substring(http.request.body.raw, 2, 5) eq "dfg"', raw],
  ['substring(http.request.body.raw, 2) eq "dfghjk"', raw],
  ['substring(http.request.body.raw, -2) eq "jk"', raw],
  ['substring(http.request.body.raw, 0, -2) eq "asdfgh"', raw],
  ['upper(http.host) eq "WWW.CLOUDFLARE.COM"', { host: "www.cloudflare.com" }],
  ['url_decode(http.request.uri.query) eq "John Doe"', { query: "John%20Doe" }],
  ['url_decode(http.request.uri.query) eq "John Doe"', { query: "John+Doe" }],
  ['url_decode(http.request.uri.query) eq "%20"', { query: "%2520" }],
  ['url_decode(http.request.uri.query, "r") eq " "', { query: "%2520" }],
  [String.raw`url_decode(http.request.uri.query) eq "\xe4\xbd"`, { query: "%E4%BD" }],
  [String.raw`url_decode(http.request.uri.query, "u") eq "\xe2\x98\x81"`, { query: "%u2601" }],
  ['url_decode(http.request.uri.query) eq "%u2601"', { query: "%u2601" }],
  ['url_decode(http.request.uri.query) eq "100%"', { query: "100%" }],
  ['has_key(http.request.headers, "a")', header("A", "1")],
  ['has_value(http.request.headers["a"], "2")', header("a", "1", "2")],
  // Operators.
  ['http.request.uri.path eq "/articles/2008/"', { path: "/articles/2008/" }],
  ["ip.src ne 203.0.113.0", { ip: "203.0.113.1" }],
  ['http.request.uri.path contains "/articles/"', { path: "/the/articles/1" }],
  ['not http.request.uri.path contains "/Articles/"', { path: "/the/articles/1" }],
  ['http.request.uri.path matches "^/articles/200[7-8]/$"', { path: "/articles/2008/" }],
  ['not http.request.uri.path matches "^/articles/200[7-8]/$"', { path: "/articles/2009/" }],
  ["ip.src in { 203.0.113.0 203.0.113.1 }", { ip: "203.0.113.1" }],
  ["ip.src in {203.0.113.0/24}", { ip: "203.0.113.255" }],
  ["not ip.src in {203.0.113.0/24 2001:db8::/32}", { ip: "203.0.114.0" }],
  ["ip.src in {2001:db8::/32}", { ip: "2001:db8:1::1" }],
  ["ip.src in {10.0.0.1..10.0.0.9}", { ip: "10.0.0.9" }],
  ["ip.src.asnum in {12345 54321..54325}", { asn: 54_323 }],
  [
    'http.request.full_uri wildcard "https://example.com/a/*"',
    { host: "example.com", path: "/a/sub/folder/", query: "name=value" },
  ],
  [
    'not http.request.full_uri wildcard "https://example.com/a/*"',
    { host: "example.com", path: "/ab/" },
  ],
  [
    'http.request.full_uri wildcard "*.example.com/*/page.html"',
    { host: "admin.example.com", path: "/team/subteam/page.html" },
  ],
  [
    'not http.request.full_uri wildcard "*.example.com/*/page.html"',
    { host: "sub.example.com", path: "/folder2/page.html", query: "s=value" },
  ],
  ['http.request.uri.path wildcard "/A/*"', { path: "/a/b" }],
  ['not http.request.uri.path strict wildcard "/A/*"', { path: "/a/b" }],
  [String.raw`http.request.uri.query wildcard r"a\*b*"`, { query: "a*bc" }],
  // Precedence: not, and, xor, or.
  ["not ssl and ssl or ssl", {}],
  ["ssl or ssl and not ssl", {}],
  ["ssl xor ssl and not ssl", {}],
  ["not (ssl xor ssl)", {}],
  ["ssl or ssl xor ssl", {}],
  // What is missing.
  ['http.request.headers["x"][0] ne "a"', {}],
  ['not http.request.headers["x"][0] eq "a"', {}],
  ['not len(http.request.headers["x"][0]) lt 5', {}],
  // Fields.
  ['http.request.uri.args["a"][1] eq "c%20d"', { query: "a=b&a=c%20d" }],
  ['http.cookie eq "a=1"', header("Cookie", "a=1")],
  ["http.request.timestamp.sec eq 1000", { time: 1_000_500 }],
  ["http.request.body.size eq 3", { body: "☁" }],
  ["http.request.body.truncated", { body: "a".repeat(131_073) }],
  ['http.request.uri eq "/a%20b?c=d"', { path: "/a b", query: "c=d" }],
  ['raw.http.request.uri.path eq "/x/../%61"', { path: "/x/../%61" }],
])("%s", (expression, request) => {
  expect(holds(expression, request)).toBe(true);
});

it("reads patterns as Rust's regex crate does, over bytes and without Unicode", () => {
  const matches = (pattern: string, query: string): boolean =>
    holds(`http.request.uri.query matches r#"${pattern}"#`, { query });
  // The vertical tab is a space for Rust, though not for RE2.
  expect(matches(String.raw`^a\sb$`, "a\u000Bb")).toBe(true);
  expect(matches(String.raw`^a[\s]b$`, "a\u000Bb")).toBe(true);
  expect(matches(String.raw`^\S$`, "\u000B")).toBe(false);
  // One character of two bytes is two dots, and no letter.
  expect(matches("^[;{(=]+$", "{(;=")).toBe(true);
  expect(matches("^[;{(=]x[)}]$", "{x}")).toBe(true);
  expect(matches("^..$", "é")).toBe(true);
  expect(matches(String.raw`\w`, "é")).toBe(false);
  expect(() => matches("é+$", "éé")).toThrow("a repetition of a character beyond ASCII");
  expect(matches("(é)+$", "éé")).toBe(true);
  expect(matches("^a$", "a\n")).toBe(false);
  expect(matches("(?i)SELECT", "select")).toBe(true);
  expect(matches("[]a]+$", "]a")).toBe(true);
});

it("normalises paths as Cloudflare does before rules see them", () => {
  const normalised = ["//a", String.raw`/a\b`, "/%68ello", "/a/./b/../c", "/a/..", "/é", "/%2f%e9"];
  expect(normalised.map(normalisedPath)).toEqual([
    "/a",
    "/a/b",
    "/hello",
    "/a/c",
    "/",
    "/%C3%A9",
    "/%2F%E9",
  ]);
});

it("decodes again and again, whatever comes", () => {
  const decode = implementations.get("url_decode");
  const cases: [given: Evaluated[], wanted: string][] = [
    [["%25252527", "r"], "'"],
    [["%2527%u0027", "ur"], "''"],
    [["%2%30%32%35", "r"], " 25"],
    [["%ud83d%ude00", "u"], bytesOfText("😀")],
    [["%ud83d", "u"], bytesOfText("\uFFFD")],
  ];
  for (const [given, wanted] of cases) expect(decode?.(given)).toBe(wanted);
});
