import type {
  Combination,
  Expression,
  Index,
  Literal,
  Member,
  Ordering,
  Test,
  Value,
} from "./ast.ts";
import { networkBounds, numericAddress } from "./addresses.ts";
import { bytesOfText, type ByteString } from "./bytes.ts";
import { expressionError } from "./expression-error.ts";
import { fields } from "./fields.ts";
import { refusalOf, resultOf, signatureOf, type TypedArgument } from "./functions.ts";
import { regexRefusal } from "./regex.ts";
import { elementOf, nameOfType, sameType, type ValueType } from "./types.ts";
import { wildcardRefusal } from "./wildcard.ts";

/** Deepest nesting of parentheses, negations and calls. */
const deepest = 128;
const largestInteger = 2n ** 63n - 1n;
const largestIndex = 2n ** 32n - 1n;

/** Operators in the order in which they are tried; none needs a space after it. */
const orderingSpellings: readonly [string, Ordering][] = [
  ["eq", "eq"],
  ["==", "eq"],
  ["ne", "ne"],
  ["!=", "ne"],
  ["ge", "ge"],
  [">=", "ge"],
  ["le", "le"],
  ["<=", "le"],
  ["gt", "gt"],
  [">", "gt"],
  ["lt", "lt"],
  ["<", "lt"],
];
const otherSpellings = [
  ["in", "in"],
  ["&", "bitwise_and"],
  ["bitwise_and", "bitwise_and"],
  ["contains", "contains"],
  ["~", "matches"],
  ["matches", "matches"],
  ["wildcard", "wildcard"],
  ["strict wildcard", "strict wildcard"],
] as const;
const comparisonSpellings = [...orderingSpellings, ...otherSpellings];
const combinationSpellings: readonly [string, Combination["operator"]][] = [
  ["or", "or"],
  ["||", "or"],
  ["xor", "xor"],
  ["^^", "xor"],
  ["and", "and"],
  ["&&", "and"],
];
const negationSpellings = ["not", "!"];
/** Weakest first. */
const precedence: readonly Combination["operator"][] = ["or", "xor", "and"];

/** What was read, with its type: that decides what may follow. */
interface Typed<Node> {
  node: Node;
  type: ValueType;
}

/**
 * Parses an expression of the rules language, with the types of its fields and functions.
 *
 * @throws CtmError `bad-expression`, with line and column
 */
export function parseExpression(source: string): Expression {
  return new Parser(source).parse();
}

class Parser {
  readonly #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  parse(): Expression {
    this.#at = this.#source.length - this.#source.trimStart().length;
    const { node, type } = this.#expression();
    this.#skipSpace();
    if (this.#rest().trim() !== "") this.#fail("an operator or the end is expected");
    if (type !== "boolean") {
      this.#fail("a list is neither true nor false: any(…) or all(…) is missing around it");
    }
    return node;
  }

  #fail(what: string, at = this.#at): never {
    throw expressionError(this.#source, at, what);
  }

  #rest(): string {
    return this.#source.slice(this.#at);
  }

  #skipSpace(): void {
    // A tab is no space to the edge.
    while (/[ \r\n]/.test(this.#source.charAt(this.#at))) this.#at += 1;
  }

  #skips(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #expect(text: string): void {
    if (!this.#skips(text)) this.#fail(`${text} is expected`);
  }

  /** Reads what the pattern (sticky) matches here. */
  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source)?.[0];
    if (found === undefined) return undefined;
    this.#at += found.length;
    return found;
  }

  #nested<Node>(read: () => Node): Node {
    this.#depth += 1;
    if (this.#depth > deepest) this.#fail(`nesting is deeper than ${deepest}`);
    const node = read();
    this.#depth -= 1;
    return node;
  }

  #expression(): Typed<Expression> {
    return this.#combination(0);
  }

  #combination(level: number): Typed<Expression> {
    const operator = precedence[level];
    if (operator === undefined) return this.#operand();
    const first = this.#combination(level + 1);
    const operands = [first.node];
    for (;;) {
      const before = this.#at;
      if (this.#combiningOperator() !== operator) {
        this.#at = before;
        break;
      }
      this.#skipSpace();
      const at = this.#at;
      const next = this.#combination(level + 1);
      if (!sameType(first.type, next.type)) {
        this.#fail(
          `${operator} combines ${nameOfType(first.type)} with ${nameOfType(next.type)}`,
          at,
        );
      }
      operands.push(next.node);
    }
    if (operands.length === 1) return first;
    return { node: { kind: "combination", operator, operands }, type: first.type };
  }

  #combiningOperator(): Combination["operator"] | undefined {
    this.#skipSpace();
    return combinationSpellings.find(([spelling]) => this.#skips(spelling))?.[1];
  }

  #operand(): Typed<Expression> {
    if (this.#skips("(")) {
      return this.#nested(() => {
        this.#skipSpace();
        const inner = this.#expression();
        this.#skipSpace();
        this.#expect(")");
        return inner;
      });
    }
    if (negationSpellings.some((spelling) => this.#skips(spelling))) {
      return this.#nested(() => {
        this.#skipSpace();
        const { node, type } = this.#operand();
        return { node: { kind: "negation", operand: node }, type };
      });
    }
    return this.#comparison(this.#value());
  }

  #comparison({ node: left, type, mapped }: TypedValue): Typed<Expression> {
    const finish = (test: Test): Typed<Expression> => ({
      node: { kind: "comparison", left, test },
      type: mapped ? { array: "boolean" } : "boolean",
    });
    if (type === "boolean") {
      if (mapped) this.#fail("a list of booleans is given to any or all as it is, without [*]");
      return finish({ operator: "is true" });
    }
    if (sameType(type, { array: "boolean" }) && !mapped) {
      return { node: { kind: "comparison", left, test: { operator: "is true" } }, type };
    }
    this.#skipSpace();
    const at = this.#at;
    const operator = comparisonSpellings.find(([spelling]) => this.#skips(spelling))?.[1];
    if (operator === undefined) this.#fail("a comparison is expected");
    this.#skipSpace();
    if (type !== "bytes" && type !== "integer" && type !== "address") {
      this.#fail(`${operator} cannot compare ${nameOfType(type)}`, at);
    }
    const only = (wanted: ValueType): void => {
      if (type !== wanted) {
        this.#fail(`${operator} compares ${nameOfType(wanted)}, not ${nameOfType(type)}`, at);
      }
    };
    switch (operator) {
      case "in": {
        if (this.#skips("$")) return finish({ operator: "in list", list: this.#listName() });
        return finish({ operator: "in", members: this.#members(type) });
      }
      case "bitwise_and": {
        only("integer");
        return finish({ operator, right: this.#integer() });
      }
      case "contains": {
        only("bytes");
        return finish({ operator, right: this.#bytes() });
      }
      case "matches": {
        only("bytes");
        return finish({ operator, pattern: this.#regex() });
      }
      case "wildcard":
      case "strict wildcard": {
        only("bytes");
        const start = this.#at;
        const pattern = this.#string();
        const refusal = wildcardRefusal(pattern);
        if (refusal !== undefined) this.#fail(refusal, start);
        return finish({ operator, pattern });
      }
      case "eq":
      case "ne":
      case "ge":
      case "le":
      case "gt":
      case "lt": {
        return finish({ operator, right: this.#right(type) });
      }
    }
  }

  /** What an ordering compares with: a literal, or a value of the same type. */
  #right(type: "bytes" | "integer" | "address"): Literal | Value {
    if (this.#startsIdentifier() && !this.#startsBytes(type)) {
      const at = this.#at;
      const { node, type: own, mapped } = this.#value();
      if (mapped || own !== type) this.#fail(`${nameOfType(type)} is expected`, at);
      return node;
    }
    return this.#literal(type);
  }

  #literal(type: "bytes" | "integer" | "address"): Literal {
    switch (type) {
      case "bytes": {
        return { kind: "bytes", bytes: this.#bytes() };
      }
      case "integer": {
        return { kind: "integer", integer: this.#integer() };
      }
      case "address": {
        return { kind: "address", address: this.#address() };
      }
    }
  }

  #startsBytes(type: ValueType): boolean {
    return type === "bytes" && /^(r#*"|[0-9a-fA-F]{2}:)/.test(this.#rest());
  }

  #startsIdentifier(): boolean {
    const [name] = /^[A-Za-z_][\w.]*/.exec(this.#rest()) ?? [];
    return name !== undefined && (fields.has(name) || signatureOf(name) !== undefined);
  }

  /** A field or call, with its indexes. */
  #value(): TypedValue {
    const at = this.#at;
    const name = this.#take(/\w+(\.\w+)*/y);
    if (name === undefined) this.#fail("a field or function is expected");
    const known = fields.get(name);
    const signature = signatureOf(name);
    if (known !== undefined) return this.#indexes({ field: name }, known.type);
    if (signature === undefined) this.#fail(`${name} is no field and no function`, at);
    return this.#nested(() => {
      const given = this.#arguments();
      const refusal = refusalOf(name, signature, given);
      if (refusal !== undefined) this.#fail(refusal, at);
      const result = resultOf(signature, given);
      const source = { call: name, arguments: given.map(({ argument }) => argument) };
      return this.#indexes(source, given[0]?.mapped === true ? { array: result } : result);
    });
  }

  #indexes(source: Value["source"], start: ValueType): TypedValue {
    let type = start;
    const indexes: Index[] = [];
    for (;;) {
      const at = this.#at;
      if (!this.#skips("[")) break;
      this.#skipSpace();
      const index = this.#index();
      this.#skipSpace();
      this.#expect("]");
      const wants = index === "each" ? undefined : "key" in index ? "map" : "array";
      const element = elementOf(type);
      if (
        element === undefined ||
        typeof type === "string" ||
        (wants !== undefined && !(wants in type))
      ) {
        this.#fail(`${nameOfType(type)} has no such element`, at);
      }
      type = element;
      indexes.push(index);
    }
    return { node: { kind: "value", source, indexes }, type, mapped: indexes.includes("each") };
  }

  #index(): Index {
    if (this.#skips("*")) return "each";
    if (this.#source.charAt(this.#at) === '"') return { key: this.#string() };
    const at = this.#at;
    if (!/\d/.test(this.#source.charAt(at))) this.#fail('"key", a position or * is expected');
    const position = this.#integer();
    if (position > largestIndex) this.#fail("this position is too large", at);
    return { position: Number(position) };
  }

  #arguments(): (TypedArgument & { mapped: boolean })[] {
    this.#skipSpace();
    this.#expect("(");
    this.#skipSpace();
    const given: (TypedArgument & { mapped: boolean })[] = [];
    while (!this.#skips(")")) {
      if (given.length > 0) {
        this.#expect(",");
        this.#skipSpace();
      }
      const at = this.#at;
      const next = this.#argument();
      if (next.mapped && given.length > 0) this.#fail("only the first argument may have [*]", at);
      given.push(next);
      this.#skipSpace();
    }
    return given;
  }

  #argument(): TypedArgument & { mapped: boolean } {
    const start = this.#rest();
    if (/^(r#*)?"/.test(start)) {
      return { argument: this.#literal("bytes"), type: "bytes", mapped: false };
    }
    if (/^(\(|!|not)/.test(start)) {
      const { node, type } = this.#expression();
      return { argument: node, type, mapped: false };
    }
    if (this.#startsIdentifier()) {
      const value = this.#value();
      const after = this.#at;
      this.#skipSpace();
      const compares = comparisonSpellings.some(([spelling]) =>
        this.#source.startsWith(spelling, this.#at),
      );
      this.#at = after;
      if (!compares) return { argument: value.node, type: value.type, mapped: value.mapped };
      const { node, type } = this.#comparison(value);
      return { argument: node, type, mapped: false };
    }
    return this.#bareLiteral();
  }

  /** A literal without quotes: the longest reading wins. */
  #bareLiteral(): TypedArgument & { mapped: boolean } {
    const start = this.#rest();
    const kind = /^[0-9a-fA-F]*[.:][0-9a-fA-F:.]*/.test(start)
      ? "address"
      : /^-?\d/.test(start)
        ? "integer"
        : undefined;
    if (kind === undefined) this.#fail("a field, function or literal is expected");
    return { argument: this.#literal(kind), type: kind, mapped: false };
  }

  #listName(): string {
    const at = this.#at;
    const name = this.#take(/[a-z0-9_.]+/y);
    if (name === undefined || /^\.|\.$/.test(name)) this.#fail("a list's name is expected", at);
    return name;
  }

  #members(type: "bytes" | "integer" | "address"): Member[] {
    this.#expect("{");
    const members: Member[] = [];
    for (;;) {
      this.#skipSpace();
      if (this.#skips("}")) return members;
      members.push(this.#member(type));
    }
  }

  #member(type: "bytes" | "integer" | "address"): Member {
    switch (type) {
      case "bytes": {
        return { kind: "bytes", bytes: this.#bytes() };
      }
      case "integer": {
        const at = this.#at;
        const first = this.#integer();
        const last = this.#skips("..") ? this.#integer() : first;
        if (last < first) this.#fail("this range ends before it begins", at);
        return { kind: "integers", first, last };
      }
      case "address": {
        return this.#addresses();
      }
    }
  }

  #addresses(): Member {
    const at = this.#at;
    const text = this.#take(/[0-9a-fA-F:./]+/y);
    if (text === undefined) this.#fail("an address is expected");
    const [first = "", last] = text.split("..");
    if (last !== undefined) {
      const [one, other] = [numericAddress(first), numericAddress(last)];
      if (one === undefined || other === undefined) this.#fail("two addresses are expected", at);
      if (one.bits !== other.bits) this.#fail("a range is of one family", at);
      return { kind: "addresses", first, last };
    }
    if (!text.includes("/")) {
      if (numericAddress(text) === undefined) this.#fail("an address is expected", at);
      return { kind: "addresses", first: text, last: text };
    }
    if (networkBounds(text) === undefined) {
      this.#fail("a network is expected, with no bits beyond its length", at);
    }
    return { kind: "network", network: text };
  }

  #address(): string {
    const at = this.#at;
    const text = this.#take(/[0-9a-fA-F:./]+/y);
    if (text === undefined || numericAddress(text) === undefined) {
      this.#fail("an address is expected", at);
    }
    return text;
  }

  #integer(): bigint {
    const at = this.#at;
    const text = this.#take(/0x[0-9a-fA-F]+|-?[0-9a-fA-F]+/y);
    if (text === undefined) this.#fail("a whole number is expected");
    const octal = /^0[0-9a-fA-F]+$/.test(text);
    const valid = text.startsWith("0x") || (octal ? /^[0-7]+$/ : /^-?\d+$/).test(text);
    if (!valid) this.#fail("this is no number", at);
    const value = text.startsWith("-")
      ? -BigInt(text.slice(1))
      : BigInt(octal ? `0o${text.slice(1)}` : text);
    if (value > largestInteger || value < -largestInteger - 1n) {
      this.#fail("this number is beyond 64 bits", at);
    }
    return value;
  }

  /** A string, or bytes such as 2f:61. */
  #bytes(): ByteString {
    if (/^(r#*)?"/.test(this.#rest())) return this.#string();
    const at = this.#at;
    const text = this.#take(/[0-9a-fA-F]{2}(:[0-9a-fA-F]{2})+/y);
    if (text === undefined) this.#fail('"text" is expected', at);
    if (this.#rest().startsWith(":")) this.#fail("two hexadecimal digits are expected");
    return String.fromCharCode(...text.split(":").map((digits) => Number.parseInt(digits, 16)));
  }

  #string(): ByteString {
    const raw = this.#rawString();
    if (raw !== undefined) return bytesOfText(raw);
    const start = this.#at;
    if (!this.#skips('"')) this.#fail('"text" is expected');
    let bytes = "";
    for (;;) {
      const plain = this.#take(/[^"\\]+/y);
      if (plain !== undefined) bytes += bytesOfText(plain);
      if (this.#skips('"')) return bytes;
      const at = this.#at;
      if (!this.#skips("\\")) this.#fail("the text has no end", start);
      const escape = this.#take(/["\\]|x[0-9a-fA-F]{2}|[0-3][0-7]{2}/y);
      if (escape === undefined) this.#fail(String.raw`after \ comes " or \ or xHH or OOO`, at);
      bytes += unescaped(escape);
    }
  }

  /** r"…" or r#"…"#, in which nothing is escaped. */
  #rawString(): string | undefined {
    const start = this.#at;
    const opening = this.#take(/r#*"/y);
    if (opening === undefined) return undefined;
    const hashes = opening.slice(1, -1);
    const end = this.#source.indexOf(`"${hashes}`, this.#at);
    if (hashes.length > 255) this.#fail("at most 255 # may stand there", start);
    if (end === -1) this.#fail("the text has no end", start);
    const text = this.#source.slice(this.#at, end);
    this.#at = end + 1 + hashes.length;
    return text;
  }

  #regex(): ByteString {
    const start = this.#at;
    const pattern = bytesOfText(this.#rawString() ?? this.#quotedRegex());
    const refusal = regexRefusal(pattern);
    if (refusal !== undefined) this.#fail(refusal, start);
    return pattern;
  }

  /** Only \" is unescaped here; a quote within a class ends nothing. */
  #quotedRegex(): string {
    const start = this.#at;
    if (!this.#skips('"')) this.#fail('"pattern" is expected');
    let pattern = "";
    let inClass = false;
    for (;;) {
      const next = this.#take(/\\[^]|[^]/y);
      if (next === undefined) this.#fail("the pattern has no end", start);
      if (next === '"' && !inClass) return pattern;
      if (next === "[") inClass = true;
      if (next === "]") inClass = false;
      pattern += next === String.raw`\"` && !inClass ? '"' : next;
    }
  }
}

type TypedValue = Typed<Value> & { mapped: boolean };

function unescaped(escape: string): ByteString {
  if (escape.startsWith("x")) return String.fromCharCode(Number.parseInt(escape.slice(1), 16));
  return /^\d/.test(escape) ? String.fromCharCode(Number.parseInt(escape, 8)) : escape;
}
