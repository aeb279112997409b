import type { ByteString } from "./bytes.ts";

/** An expression that is true or false, or a list of such where a value in it is mapped with [*]. */
export type Expression = Combination | Negation | Comparison;

export interface Combination {
  kind: "combination";
  operator: "or" | "xor" | "and";
  operands: readonly Expression[];
}

export interface Negation {
  kind: "negation";
  operand: Expression;
}

export interface Comparison {
  kind: "comparison";
  left: Value;
  test: Test;
}

export type Ordering = "eq" | "ne" | "ge" | "le" | "gt" | "lt";

export type Test =
  | { operator: "is true" }
  | { operator: Ordering; right: Literal | Value }
  | { operator: "bitwise_and"; right: bigint }
  | { operator: "contains"; right: ByteString }
  /** As written: bytes outside ASCII stand for themselves. */
  | { operator: "matches"; pattern: ByteString }
  | { operator: "wildcard" | "strict wildcard"; pattern: ByteString }
  | { operator: "in"; members: readonly Member[] }
  /** A list of the account, or one of Cloudflare's (`cf.open_proxies`). */
  | { operator: "in list"; list: string };

/** A field or a function's result, or what indexes pick of it. */
export interface Value {
  kind: "value";
  source: { field: string } | { call: string; arguments: readonly Argument[] };
  indexes: readonly Index[];
}

/** `[*]` maps whatever is done with the value over all elements. */
export type Index = { key: ByteString } | { position: number } | "each";

export type Argument = Value | Literal | Expression;

export type Literal =
  | { kind: "bytes"; bytes: ByteString }
  | { kind: "integer"; integer: bigint }
  | { kind: "address"; address: string };

export type Member =
  | { kind: "bytes"; bytes: ByteString }
  | { kind: "integers"; first: bigint; last: bigint }
  /** Both of one family; equal for a single address. */
  | { kind: "addresses"; first: string; last: string }
  | { kind: "network"; network: string };
