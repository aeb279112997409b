import { createHash } from "node:crypto";

/** Chance that is the same in every run. */
class Chance {
  readonly #seed: string;
  #count = 0;

  constructor(seed: string) {
    this.#seed = seed;
  }

  below(limit: number): number {
    this.#count += 1;
    const digest = createHash("sha256").update(`${this.#seed} ${this.#count}`).digest();
    return digest.readUInt32BE(0) % limit;
  }

  of<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("there is nothing to choose from");
    return item;
  }
}

const strings = [
  '"a"',
  '"/api/database"',
  String.raw`"quo\"te"`,
  String.raw`"\x2e\101"`,
  'r"raw\\d"',
  'r#"has "quotes""#',
  '"é☁"',
  '""',
  "41:42:43",
];
const patterns = [
  '"^/api/(a|b)+$"',
  String.raw`"\d{2,4}\s?[^a-z\]]"`,
  String.raw`r"^[\w.-]+$"`,
  '"(?i)select|union"',
  String.raw`"say \"x\""`,
  '"["]end"',
  '"(?:a*?b|c??)"',
];
const wildcards = ['"*/api/*"', String.raw`r"a\*b*"`, '"plain"', String.raw`"a\\*"`];
const bytesFields = [
  "http.host",
  "http.request.uri.path",
  "http.user_agent",
  "raw.http.request.uri.query",
];
const integerFields = [
  "http.request.timestamp.sec",
  "ip.src.asnum",
  "cf.threat_score",
  "http.request.body.size",
];
const lists = [
  "http.request.headers.names",
  'http.request.headers["x-a"]',
  'http.request.uri.args["q"]',
  "http.request.uri.args.values",
];
const integers = ["0", "7", "0x1f", "017", "-3", "9223372036854775807"];
const addresses = ["1.2.3.4", "::1", "2001:db8::5", "::ffff:1.2.3.4"];
const ranges = ["10.0.0.0/8", "1.2.3.4..1.2.3.9", "2001:db8::/32", "::1..::9", "1.2.3.4"];

/** Expressions of the grammar, by chance: most are valid, all are nearly so. */
export function expressionsByChance(seed: string, count: number): string[] {
  const chance = new Chance(seed);
  return Array.from({ length: count }, (_, index) => {
    const expression = logical(chance, 3);
    return index % 2 === 0 ? expression : mangled(chance, expression);
  });
}

const space = (chance: Chance): string => chance.of([" ", " ", " ", "  ", "\n", "\r\n "]);

function logical(chance: Chance, depth: number): string {
  const operands = 1 + chance.below(depth);
  const parts = [operand(chance, depth - 1)];
  for (let index = 1; index < operands; index += 1) {
    const operator = chance.of(["and", "or", "xor", "&&", "||", "^^"]);
    parts.push(`${space(chance)}${operator}${space(chance)}${operand(chance, depth - 1)}`);
  }
  return parts.join("");
}

function operand(chance: Chance, depth: number): string {
  const kind = chance.below(8);
  if (kind === 0 && depth > 0) return `(${logical(chance, depth)})`;
  if (kind === 1 && depth > 0)
    return `${chance.of(["not ", "!", "not not "])}${operand(chance, depth - 1)}`;
  if (kind === 2) return chance.of(["ssl", "cf.client.bot", "http.request.body.truncated"]);
  if (kind === 3) return `${chance.of(["any", "all"])}(${mapped(chance)})`;
  if (kind === 4)
    return `starts_with(${bytesValue(chance, 1)},${space(chance)}${chance.of(strings.slice(0, 4))})`;
  return comparison(chance);
}

function comparison(chance: Chance): string {
  const type = chance.below(5);
  if (type === 0) {
    const value =
      chance.below(2) === 0 ? chance.of(integerFields) : `len(${bytesValue(chance, 1)})`;
    if (chance.below(3) === 0) return `${value} in {${chance.of(integers.slice(0, 3))} 3..9}`;
    return `${value} ${chance.of(["eq", "==", "ne", "!=", "ge", ">=", "le", "<=", "gt", ">", "lt", "<", "&"])} ${chance.of(integers)}`;
  }
  if (type === 1) {
    if (chance.below(2) === 0) return `ip.src in {${chance.of(ranges)} ${chance.of(ranges)}}`;
    return `ip.src ${chance.of(["eq", "ne", "==", "!="])} ${chance.of(addresses)}`;
  }
  return `${bytesValue(chance, 2)} ${bytesTest(chance)}`;
}

function bytesTest(chance: Chance): string {
  switch (chance.below(6)) {
    case 0: {
      return `${chance.of(["matches", "~"])} ${chance.of(patterns)}`;
    }
    case 1: {
      return `contains ${chance.of(strings)}`;
    }
    case 2: {
      return `${chance.of(["wildcard", "strict wildcard"])} ${chance.of(wildcards)}`;
    }
    case 3: {
      return `in {${chance.of(strings)} ${chance.of(strings)}}`;
    }
    case 4: {
      return chance.of(["in $office", "in $cf.open_proxies", "eq http.host"]);
    }
    default: {
      return `${chance.of(["eq", "==", "ne", "gt", "<="])} ${chance.of(strings)}`;
    }
  }
}

function bytesValue(chance: Chance, depth: number): string {
  if (depth === 0 || chance.below(3) > 0) {
    return chance.below(4) === 0
      ? `${chance.of(lists)}[${chance.of(["0", "1", " 2 "])}]`
      : chance.of(bytesFields);
  }
  const inner = bytesValue(chance, depth - 1);
  return chance.of([
    `lower(${inner})`,
    `upper( ${inner} )`,
    `url_decode(${inner})`,
    `concat(${inner}, "-", ${chance.of(bytesFields)})`,
    `substring(${inner}, 0, 4)`,
    `remove_bytes(${inner}, "\\x2e")`,
    `lookup_json_string(${inner}, "key")`,
    `regex_replace(${inner}, "a+", "b")`,
  ]);
}

function mapped(chance: Chance): string {
  const list = `${chance.of(lists)}[*]`;
  const value = chance.of([list, `lower(${list})[*]`, `url_decode(lower(${list})[*])[*]`]);
  const test = `${value} ${bytesTest(chance)}`;
  return chance.of([
    test,
    test,
    `not ${test}`,
    `(${test} or ${list} eq "z")`,
    `len(${list})[*] gt 3`,
  ]);
}

/** One small thing wrong, or odd: a word dropped, doubled, swapped, misspelt. */
function mangled(chance: Chance, expression: string): string {
  const words = expression.split(" ");
  const at = chance.below(words.length);
  const word = words[at] ?? "";
  const replacements = [
    [],
    [word, word],
    [word.slice(0, -1)],
    [`${word})`],
    [`(${word}`],
    [word.toUpperCase()],
    [
      chance.of([
        "eq",
        "and",
        "matches",
        '"x"',
        "12",
        "{",
        "1.2.3.4/33",
        "in",
        "ip.src",
        "ssl",
        "[*]",
        "$",
        "http.nothing",
      ]),
    ],
    [`${word}[0]`],
    [word.replace('"', "")],
    [word.replace(".", "..")],
  ];
  return words.toSpliced(at, 1, ...chance.of(replacements)).join(" ");
}

/** Valid and invalid, written by hand: each for one rule of the grammar or of its types. */
export const expressionsByHand: readonly string[] = [
  'http.host\teq "a"',
  '\thttp.host eq "a"\t',
  'http.host  eq\r\n"a"',
  'http.request.headers["x"][*] eq "a"',
  'http.request.headers["x"] [0] eq "a"',
  'http.request.headers[ "x" ][ 0 ] eq "a"',
  'http.request.headers[r"x"][0] eq "a"',
  'http.request.headers[x][0] eq "a"',
  'http.request.headers.names[-1] eq "a"',
  'http.request.headers.names[0x1] eq "a"',
  'http.request.headers.names[4294967296] eq "a"',
  'lower (http.host) eq "a"',
  'lower( http.host ) eq "a"',
  'starts_with(http.host , "a")',
  'starts_with(http.host, "a",)',
  'starts_with(http.host "a")',
  'concat() eq "a"',
  "any(ssl)",
  'any(http.request.headers.names[*] eq "a" )',
  "len(http.host) in {1..3,5}",
  "len(http.host) in {3..1}",
  "len(http.host) in { 1..3 5 }",
  "len(http.host) in {1 .. 3}",
  "len(http.host) in {1..3}and ssl",
  "len(http.host) eq 09",
  "len(http.host) eq 9999999999999999999",
  "len(http.host) eq 9223372036854775807",
  "len(http.host) eq - 1",
  "len(http.host) eq 1and ssl",
  'http.host in{"a""b"}',
  'http.host in {"a""b"}',
  'http.host in {"a"..."b"}',
  'http.host in {"a".."b"}',
  "ip.src in {1.2.3.4/33}",
  "ip.src in {1.2.3.4/8}",
  "ip.src in {1.2.3.0/24 10.0.0.1..10.0.0.5}",
  "ip.src in {::1..10.0.0.1}",
  "ip.src eq 1.2.3",
  "ip.src eq 01.2.3.4",
  "ip.src eq ::ffff:1.2.3.4",
  "ip.src eq 1::2::3",
  'ip.src eq "1.2.3.4"',
  "ip.src in $a.b-c",
  "ip.src in $A",
  "http.host in $x",
  "ssl in {1}",
  'ip.src contains "a"',
  'len(http.host) contains "a"',
  'len(http.host) matches "a"',
  'http.host matches "["',
  'http.host matches "(?=a)"',
  'http.host matches "a{1,1000}"',
  'http.host matches "\\\\d+"',
  'http.host matches "\\d"',
  'http.host matches "\\""',
  'http.host matches "[\\"]"',
  'http.host matches "["]a"',
  'http.host matches r"\\d"',
  'http.host matches "(?P<n>a)"',
  'http.host matches "(?<n>a)"',
  'http.host matches "\\\\1(a)"',
  'http.host matches "\\pN"',
  "http.host matches 41:42",
  'http.host wildcard "a\\\\*b"',
  'http.host wildcard "a\\*b"',
  'http.host wildcard r"a\\*b"',
  'http.host wildcard r"a\\b"',
  'http.host wildcard r"a\\"',
  'http.host wildcard "*a*a*a*a*a*a*a*a*a*a*"',
  'http.host wildcard "*a*a*a*a*a*a*a*a*a*"',
  'http.host strict  wildcard "a"',
  'http.host strict\nwildcard "a"',
  'http.host ~ "a"',
  'http.host ~"a"',
  'http.host eq "\\x4"',
  'http.host eq "\\x41\\101"',
  'http.host eq "\\400"',
  "http.host eq 4G:1",
  "http.host eq 41",
  "http.host eq 41:",
  "http.host eq 41:42:",
  "http.host eq 41-42.43",
  'http.host eq r##"a"#b"##',
  'http.host eq "unterminated',
  "ssl & 1",
  "cf.threat_score & 1",
  "cf.threat_score bitwise_and 1",
  "cf.threat_score & 1 eq 1",
  "not",
  "()",
  "(ssl",
  "ssl)",
  "ssl ssl",
  "ssl and and ssl",
  "ssl or",
  "! ssl",
  "not!ssl",
  'nothttp.host eq "a"',
  "ssl andssl",
  "sslandssl",
  "ssl xor ssl or ssl and ssl",
  'http.host == "a" && (ssl || not ssl)',
  'ssl && "a"',
  'http.request.headers.names[*] eq "a" or ssl',
  'any(http.request.headers.names[*] eq "a") or ssl',
  'any((http.request.headers.names[*] eq "a" or http.request.headers.names[*] eq "b"))',
  'any(not http.request.headers.names[*] eq "a" or http.request.headers.names[*] eq "b")',
  'any(http.request.headers[*][*] eq "a")',
  'any(http.request.headers[*][0] eq "a")',
  'any(lower(http.request.headers[*][*])[*] eq "a")',
  'any(http.request.headers["a"][*] in {"a" "b"})',
  'concat(http.request.headers["x"][*],"a")[0] eq "a"',
  'starts_with(http.request.headers["x"][*],"a")[0]',
  'any(starts_with(http.request.headers["x"][*],"a"))',
  'any(starts_with(http.request.headers["x"][*],"a")[*])',
  'starts_with(http.host, http.request.headers["x"][*])',
  'lower(http.host)[0] eq "a"',
  'any(http.request.body.multipart.names[*][*] eq "a")',
  "http.host eq http.host",
  'len("a") eq 1',
  'len(concat(http.host,"a")) eq 1',
  'HTTP.HOST eq "a"',
  'http.host EQ "a"',
  'http.host eq "a" AND ssl',
  '.http.host eq "a"',
  'http..host eq "a"',
  'http.host. eq "a"',
  'http.host.x eq "a"',
  'http.host eq "a";',
  "http.host eq 'a'",
  'http.host eq ""',
  'http.host eq "\u2028"',
  'http.host eq "a" /* c */',
  'http.host ne "a"',
  'http.host != "a"',
  'http.host<"b"',
  'http.host>="b"',
  'http.host => "b"',
  'http.host <> "a"',
  'http.host not in {"a"}',
  'not http.host in {"a"}',
  'http.host in ("a")',
  'http.host in "a"',
  'http.host in {"a"',
  'http.host contains ""',
  'http.host wildcard ""',
  'http.host matches ""',
  'http.request.headers["X"][0] eq "a"',
  "ssl eq 1",
  'cf.threat_score eq "1"',
  "cf.threat_score gt 1.5",
  "ip.src ne 1.1.1.1",
  '(http.host) eq "a"',
  '((http.host eq "a"))and(ssl)',
  'url_decode(url_decode(http.host)) eq "a"',
  'regex_replace(http.host, http.host, "b") eq "a"',
  'regex_replace(http.host, "(", "b") eq "a"',
  'remove_bytes(http.host, http.host) eq "a"',
  'url_decode("a") eq "b"',
  'substring(http.host,1,2,3) eq "a"',
  'concat(1,2) eq "a"',
  'concat(http.host,1) eq "a"',
  'concat(ssl,http.host) eq "a"',
  'join(http.request.headers.names) eq "a"',
  'to_string("a") eq "a"',
  'lookup_json_integer(http.host,"a") eq 1',
  'lookup_json_string("a","b") eq "c"',
  "cidr(ip.src,24) eq 1.1.1.0",
  "cidr6(ip.src,24) eq 1.1.1.0",
  "cidr(1.1.1.1,24,24) eq 1.1.1.0",
  "has_key(http.request.headers,http.host)",
  'has_value(http.host,"a")',
  'split(http.host,http.host,3)[0] eq "a"',
  'wildcard_replace(http.host,"*","a") eq "b"',
  'wildcard_replace(http.host,"**","a") eq "b"',
  "any(http.request.headers.names)",
  "all(ssl)",
  "any(not ssl)",
  "notnotnot ssl",
  "http.host eq lower(http.host)",
  "cf.threat_score gt cf.waf.score",
  "http.host contains http.host",
  "http.host in http.host",
  "http.host eq ip.src",
  'http.host eq http.request.headers["a"][0]',
  'http.host eq http.request.headers["a"][*]',
  "http.host matches http.host",
  "ip.src eq cf.edge.server_ip",
  'any(http.request.headers["a"][*] eq http.host)',
  "http.host eq cf.colo.id",
  "http.host in {http.host}",
  'http.host eq concat(http.host,"a")',
  "http.host eq fa:ce",
  "http.host eq http.host and ssl",
  'all(http.request.headers["a"][*] ne "b")',
  "ssl[0]",
  'http.request.headers["a"]["b"] eq "c"',
  'http.request.headers["é"][0] eq "a"',
  'http.request.headers["\\x41"][0] eq "a"',
  'http.host matches "a{"',
  'http.host matches "a{,3}"',
  'http.host matches "\\C"',
  'http.host matches "\\Qa\\E"',
  'http.host matches "é"',
  'http.host matches "[é]"',
  'http.host matches "\\xff"',
  'http.host matches "(?i)a"',
  'http.host matches "\\b"',
  'http.host matches "("',
  'http.host matches ")"',
  'http.host matches "*"',
  'http.host matches "[z-a]"',
  'http.host matches "a{1000}{1000}"',
  'http.host matches "\\z"',
  'http.host matches "\\Z"',
  'http.host matches "\\A"',
  'http.host matches "\\h"',
  'http.host matches "\\e"',
  'http.host matches "[[:alpha:]]"',
  'http.host matches "(?s).(?-s)."',
  'http.host matches "(?U)a"',
  'http.host matches "\\n\\t\\v\\f\\a\\r"',
  'http.host matches "\\_"',
  'http.host matches "\\y"',
  'http.host matches "."',
  'http.host matches "[^a]"',
  'http.host matches "(?P>a)"',
  'http.host matches "(?:a|b)"',
  'http.host matches "a|"',
  'http.host matches "|"',
  'http.host matches "^*"',
  'http.host matches "\\d\\D\\s\\S\\w\\W\\B"',
  'http.host matches "]"',
  'http.host matches "}"',
  'http.host matches "{"',
  'http.host matches "[]a]"',
  'http.host matches "[^]a]"',
  'http.host matches "\\0"',
  'http.host matches "\\07"',
];

/**
 * What the package takes otherwise than documented, since it registers functions with fewer or
 * other parameters: options of url_decode, further keys of lookup_json_string, len of a list.
 */
export const documentedOtherwise: readonly string[] = [
  'url_decode(http.host,"u") eq "b"',
  'substring(http.host,1) eq "a"',
  'substring(http.host,-1) eq "a"',
  'to_string(ssl) eq "true"',
  "len(http.request.headers.names) gt 1",
  'lookup_json_string(http.host,0) eq "a"',
  'split(http.host,"",3)[0] eq "a"',
  'split(http.host,".",200)[0] eq "a"',
  'split(http.host,".",0)[0] eq "a"',
  'is_timed_hmac_valid_v0("k",http.request.uri,100,http.request.timestamp.sec,8)',
  'is_timed_hmac_valid_v0("k",http.request.uri,100,http.request.timestamp.sec)',
];

/** Patterns that are valid at the edge, and refused here since RE2 has another meaning or none. */
export const patternsElsewhere: readonly string[] = [
  'http.host matches "a**"',
  'http.host matches "a++"',
  'http.host matches "(?x) a b"',
  'http.host matches "[a&&b]"',
  'http.host matches "(?u)\\pN"',
  'http.host matches "(?-u)a"',
  'http.host matches "\\<"',
  'http.host matches "a{1,2}{3}"',
  'http.host matches "a{1001}"',
  'http.host matches "\\u0041"',
  'http.host matches "[[:foo:]]"',
  'http.host matches "(?R)a"',
  'http.host matches "\\x{41}"',
];
