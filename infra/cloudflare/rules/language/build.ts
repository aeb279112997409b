import type { Argument, Expression, Member, Test, Value } from "./ast.ts";
import { networkOf } from "./addresses.ts";
import { bytesOfText } from "./bytes.ts";
import type { AddressField, BytesField, IntegerField, ListField, MapField } from "./fields.ts";

/**
 * A value of a request. `Many` is true for the elements of a list, one by one: what is made of
 * them is a list too, for `any` or `all`.
 */
export interface Term<Type extends "bytes" | "integer" | "address", Many extends boolean = false> {
  type: Type;
  many: Many;
  value: Value;
}

/** Something true or false; for `Many` of each element. */
export interface Condition<Many extends boolean = false> {
  many: Many;
  expression: Expression;
}

function field(name: string): Value {
  return { kind: "value", source: { field: name }, indexes: [] };
}

export function bytes(name: BytesField): Term<"bytes"> {
  return { type: "bytes", many: false, value: field(name) };
}

export function integer(name: IntegerField): Term<"integer"> {
  return { type: "integer", many: false, value: field(name) };
}

export function address(name: AddressField): Term<"address"> {
  return { type: "address", many: false, value: field(name) };
}

/** The elements of a list. */
export function each(name: ListField): Term<"bytes", true> {
  return { type: "bytes", many: true, value: { ...field(name), indexes: ["each"] } };
}

/** The elements of several lists, one list after the other. */
export function concatenated(first: ListField, ...others: ListField[]): Term<"bytes", true> {
  const value = call("concat", field(first), true, others.map(field));
  return { type: "bytes", many: true, value };
}

/** The values of a header; its name in lower case. */
export function header(name: string): Term<"bytes", true> {
  return valuesOf("http.request.headers", name);
}

/** The values of an argument of the query, as they were sent. */
export function argument(name: string): Term<"bytes", true> {
  return valuesOf("http.request.uri.args", name);
}

function valuesOf(map: MapField, key: string): Term<"bytes", true> {
  const indexes = [{ key: bytesOfText(key) }, "each"] as const;
  return { type: "bytes", many: true, value: { ...field(map), indexes } };
}

function call(name: string, first: Value, many: boolean, rest: readonly Argument[] = []): Value {
  return {
    kind: "value",
    source: { call: name, arguments: [first, ...rest] },
    indexes: many ? ["each"] : [],
  };
}

const text = (literal: string): Argument => ({ kind: "bytes", bytes: bytesOfText(literal) });

export function lower<Many extends boolean>({
  many,
  value,
}: Term<"bytes", Many>): Term<"bytes", Many> {
  return { type: "bytes", many, value: call("lower", value, many) };
}

/** With all its options: again until nothing changes, and %uXXXX too. */
export function urlDecode<Many extends boolean>({
  many,
  value,
}: Term<"bytes", Many>): Term<"bytes", Many> {
  return { type: "bytes", many, value: call("url_decode", value, many, [text("ur")]) };
}

export function length<Many extends boolean>({
  many,
  value,
}: Term<"bytes", Many>): Term<"integer", Many> {
  return { type: "integer", many, value: call("len", value, many) };
}

function condition<Many extends boolean>(
  { many, value }: Term<"bytes" | "integer" | "address", Many>,
  test: Test,
): Condition<Many> {
  return { many, expression: { kind: "comparison", left: value, test } };
}

export function equals<Many extends boolean>(
  term: Term<"bytes", Many>,
  literal: string,
): Condition<Many> {
  return condition(term, { operator: "eq", right: { kind: "bytes", bytes: bytesOfText(literal) } });
}

export function compares<Many extends boolean>(
  term: Term<"integer", Many>,
  operator: "eq" | "ge" | "le" | "gt" | "lt",
  literal: number,
): Condition<Many> {
  return condition(term, { operator, right: { kind: "integer", integer: BigInt(literal) } });
}

export function contains<Many extends boolean>(
  term: Term<"bytes", Many>,
  literal: string,
): Condition<Many> {
  return condition(term, { operator: "contains", right: bytesOfText(literal) });
}

/** A pattern somewhere in the value: Business and above. */
export function matches<Many extends boolean>(
  term: Term<"bytes", Many>,
  pattern: string,
): Condition<Many> {
  return condition(term, { operator: "matches", pattern: bytesOfText(pattern) });
}

/** The whole value, in either case; `*` stands for any text. */
export function wildcard<Many extends boolean>(
  term: Term<"bytes", Many>,
  pattern: string,
): Condition<Many> {
  return condition(term, { operator: "wildcard", pattern: bytesOfText(pattern) });
}

export function startsWith({ many, value }: Term<"bytes">, prefix: string): Condition {
  const left = call("starts_with", value, many, [text(prefix)]);
  return { many: false, expression: { kind: "comparison", left, test: { operator: "is true" } } };
}

export function oneOf<Many extends boolean>(
  term: Term<"bytes", Many>,
  literals: readonly string[],
): Condition<Many> {
  const members = literals.map((one): Member => ({ kind: "bytes", bytes: bytesOfText(one) }));
  return condition(term, { operator: "in", members });
}

export function oneOfNumbers(term: Term<"integer">, numbers: readonly number[]): Condition {
  const members = numbers.map((one): Member => {
    return { kind: "integers", first: BigInt(one), last: BigInt(one) };
  });
  return condition(term, { operator: "in", members });
}

/** Addresses and networks. */
export function within(term: Term<"address">, networks: readonly string[]): Condition {
  const members = networks.map((one): Member => {
    return one.includes("/")
      ? { kind: "network", network: networkOf(one) }
      : { kind: "addresses", first: one, last: one };
  });
  return condition(term, { operator: "in", members });
}

export function any({ expression }: Condition<true>): Condition {
  const left: Value = {
    kind: "value",
    source: { call: "any", arguments: [expression] },
    indexes: [],
  };
  return { many: false, expression: { kind: "comparison", left, test: { operator: "is true" } } };
}

export function not<Many extends boolean>({ many, expression }: Condition<Many>): Condition<Many> {
  return { many, expression: { kind: "negation", operand: expression } };
}

export function and<Many extends boolean>(
  ...conditions: readonly [Condition<Many>, ...Condition<Many>[]]
): Condition<Many> {
  return combined("and", conditions);
}

export function or<Many extends boolean>(
  ...conditions: readonly [Condition<Many>, ...Condition<Many>[]]
): Condition<Many> {
  return combined("or", conditions);
}

function combined<Many extends boolean>(
  operator: "and" | "or",
  [first, ...others]: readonly [Condition<Many>, ...Condition<Many>[]],
): Condition<Many> {
  if (others.length === 0) return first;
  const operands = [first, ...others].map(({ expression }) => expression);
  return { many: first.many, expression: { kind: "combination", operator, operands } };
}
