import type { Argument, Expression, Index, Literal, Member, Test, Value } from "./ast.ts";
import { textOfBytes, type ByteString } from "./bytes.ts";

/** Weakest first; what binds more weakly than what it stands in gets parentheses. */
const strength = { or: 1, xor: 2, and: 3 } as const;
const negationStrength = 4;

/** The text of an expression; parsing it gives the same expression. */
export function printExpression(expression: Expression): string {
  return print(expression, 0);
}

function print(expression: Expression, within: number): string {
  switch (expression.kind) {
    case "combination": {
      const own = strength[expression.operator];
      const text = expression.operands
        .map((operand) => print(operand, own))
        .join(` ${expression.operator} `);
      return own <= within ? `(${text})` : text;
    }
    case "negation": {
      return `not ${print(expression.operand, negationStrength)}`;
    }
    case "comparison": {
      return `${printValue(expression.left)}${printTest(expression.test)}`;
    }
  }
}

function printTest(test: Test): string {
  switch (test.operator) {
    case "is true": {
      return "";
    }
    case "bitwise_and": {
      return ` & ${test.right}`;
    }
    case "contains": {
      return ` contains ${printBytes(test.right)}`;
    }
    case "matches": {
      return ` matches ${printPattern(test.pattern)}`;
    }
    case "wildcard":
    case "strict wildcard": {
      return ` ${test.operator} ${printBytes(test.pattern)}`;
    }
    case "in": {
      return ` in {${test.members.map(printMember).join(" ")}}`;
    }
    case "in list": {
      return ` in $${test.list}`;
    }
    case "eq":
    case "ne":
    case "ge":
    case "le":
    case "gt":
    case "lt": {
      const { right } = test;
      return ` ${test.operator} ${right.kind === "value" ? printValue(right) : printLiteral(right)}`;
    }
  }
}

function printValue({ source, indexes }: Value): string {
  const text =
    "field" in source
      ? source.field
      : `${source.call}(${source.arguments.map(printArgument).join(", ")})`;
  return text + indexes.map(printIndex).join("");
}

function printIndex(index: Index): string {
  if (index === "each") return "[*]";
  return "key" in index ? `[${quoted(index.key)}]` : `[${index.position}]`;
}

function printArgument(argument: Argument): string {
  switch (argument.kind) {
    case "value": {
      return printValue(argument);
    }
    case "combination": {
      return `(${print(argument, 0)})`;
    }
    case "negation":
    case "comparison": {
      return print(argument, 0);
    }
    case "bytes":
    case "integer":
    case "address": {
      return printLiteral(argument);
    }
  }
}

function printLiteral(literal: Literal): string {
  switch (literal.kind) {
    case "bytes": {
      return printBytes(literal.bytes);
    }
    case "integer": {
      return String(literal.integer);
    }
    case "address": {
      return literal.address;
    }
  }
}

function printMember(member: Member): string {
  switch (member.kind) {
    case "bytes": {
      return printBytes(member.bytes);
    }
    case "integers": {
      const { first, last } = member;
      return first === last ? String(first) : `${first}..${last}`;
    }
    case "addresses": {
      const { first, last } = member;
      return first === last ? first : `${first}..${last}`;
    }
    case "network": {
      return member.network;
    }
  }
}

/** Raw where that saves escapes and can be read. */
function printBytes(bytes: ByteString): string {
  const text = textOfBytes(bytes);
  if (text === undefined || !/["\\]/.test(text)) return quoted(bytes);
  return raw(text);
}

/** A pattern's bytes beyond ASCII were text in the source. */
function printPattern(pattern: ByteString): string {
  const text = textOfBytes(pattern) ?? pattern;
  return /["\\]/.test(text) ? raw(text) : `"${text}"`;
}

function raw(text: string): string {
  const longest = Math.max(-1, ...[...text.matchAll(/"(#*)/g)].map(([, run = ""]) => run.length));
  const hashes = "#".repeat(longest + 1);
  return `r${hashes}"${text}"${hashes}`;
}

function quoted(bytes: ByteString): string {
  const text = textOfBytes(bytes);
  const escaped = (text ?? bytes).replaceAll(/["\\]/g, String.raw`\$&`);
  if (text !== undefined) return `"${escaped}"`;
  return `"${escaped.replaceAll(/[\u0080-\u00FF]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`)}"`;
}
