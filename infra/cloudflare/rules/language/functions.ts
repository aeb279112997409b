import type { Plan } from "../model.ts";
import type { Argument } from "./ast.ts";
import { nameOfType, sameType, type ValueType } from "./types.ts";

/** Where rules may call a function: `transform` is in neither of the phases that we use. */
export type Availability = "custom and rate limit" | "custom" | "transform";

interface Parameter {
  types: readonly ValueType[];
  /** A field is whatever is not written as a literal. */
  takes: "field" | "literal" | "either";
  /** Why a literal will not do, or undefined. */
  refuse?: (literal: bigint | string) => string | undefined;
}

interface Signature {
  parameters: readonly Parameter[];
  /** How many of the last parameters may be left out. */
  optional: number;
  /** More arguments of this kind may follow the last parameter. */
  further?: Parameter;
  result: ValueType | "as the first argument";
  availability: Availability;
  plan: Plan;
}

const strings: ValueType = { array: "bytes" };
const field = (...types: ValueType[]): Parameter => ({ types, takes: "field" });
const either = (...types: ValueType[]): Parameter => ({ types, takes: "either" });
const literal = (type: ValueType, refuse?: Parameter["refuse"]): Parameter => ({
  types: [type],
  takes: "literal",
  ...(refuse === undefined ? {} : { refuse }),
});
const within =
  (least: bigint, most: bigint): Parameter["refuse"] =>
  (value) =>
    typeof value === "bigint" && value >= least && value <= most
      ? undefined
      : `must be from ${least} to ${most}`;

function signature(
  parameters: readonly Parameter[],
  result: Signature["result"],
  rest: Partial<Omit<Signature, "parameters" | "result">> = {},
): Signature {
  return {
    parameters,
    result,
    optional: 0,
    availability: "custom and rate limit",
    plan: "free",
    ...rest,
  };
}

/**
 * The documented functions
 * (https://developers.cloudflare.com/ruleset-engine/rules-language/functions/).
 */
const functions: ReadonlyMap<string, Signature> = new Map(
  Object.entries({
    any: signature([field({ array: "boolean" })], "boolean"),
    all: signature([field({ array: "boolean" })], "boolean"),
    cidr: signature(
      [field("address"), literal("integer", within(1n, 32n)), literal("integer", within(1n, 128n))],
      "address",
    ),
    cidr6: signature([field("address"), literal("integer", within(1n, 128n))], "address"),
    concat: signature(
      [either("bytes", strings), either("bytes", strings)],
      "as the first argument",
      { further: either("bytes", strings) },
    ),
    decode_base64: signature([field("bytes")], "bytes"),
    encode_base64: signature([field("bytes"), literal("bytes")], "bytes", {
      optional: 1,
      availability: "transform",
    }),
    ends_with: signature([field("bytes"), either("bytes")], "boolean"),
    has_key: signature([field({ map: strings }), literal("bytes")], "boolean"),
    has_value: signature([field(strings), literal("bytes")], "boolean"),
    is_timed_hmac_valid_v0: signature(
      [
        literal("bytes"),
        field("bytes"),
        literal("integer"),
        field("integer"),
        literal("integer"),
        literal("bytes"),
      ],
      "boolean",
      { optional: 2, plan: "pro" },
    ),
    join: signature([field(strings), literal("bytes")], "bytes", { availability: "custom" }),
    len: signature([field("bytes", strings)], "integer"),
    lookup_json_integer: signature([field("bytes"), jsonKey()], "integer", { further: jsonKey() }),
    lookup_json_string: signature([field("bytes"), jsonKey()], "bytes", { further: jsonKey() }),
    lower: signature([field("bytes")], "bytes"),
    regex_replace: signature([field("bytes"), literal("bytes"), literal("bytes")], "bytes", {
      availability: "transform",
    }),
    remove_bytes: signature([field("bytes"), literal("bytes")], "bytes"),
    remove_query_args: signature([field("bytes"), literal("bytes")], "bytes", {
      further: literal("bytes"),
      availability: "transform",
    }),
    sha256: signature([field("bytes")], "bytes", { availability: "transform" }),
    split: signature(
      [
        field("bytes"),
        literal("bytes", (value) => (value === "" ? "must not be empty" : undefined)),
        literal("integer", within(1n, 128n)),
      ],
      strings,
      { availability: "transform" },
    ),
    starts_with: signature([field("bytes"), either("bytes")], "boolean"),
    substring: signature([field("bytes"), literal("integer"), literal("integer")], "bytes", {
      optional: 1,
    }),
    to_string: signature([field("integer", "boolean", "address")], "bytes", {
      availability: "transform",
    }),
    upper: signature([field("bytes")], "bytes"),
    url_decode: signature(
      [
        field("bytes"),
        literal("bytes", (value) =>
          typeof value === "string" && /^[ru]*$/.test(value)
            ? undefined
            : 'must consist of the options "r" and "u"',
        ),
      ],
      "bytes",
      { optional: 1 },
    ),
    uuidv4: signature([field("bytes")], "bytes", { availability: "transform" }),
    wildcard_replace: signature(
      [field("bytes"), literal("bytes"), literal("bytes"), literal("bytes")],
      "bytes",
      { optional: 1, availability: "transform" },
    ),
  }),
);

function jsonKey(): Parameter {
  return { types: ["bytes", "integer"], takes: "literal" };
}

export function signatureOf(name: string): Signature | undefined {
  return functions.get(name);
}

/** An argument with the type that it has. */
export interface TypedArgument {
  argument: Argument;
  type: ValueType;
}

/** Why the function cannot take these arguments, or undefined. */
export function refusalOf(
  name: string,
  { parameters, optional, further, result }: Signature,
  given: readonly TypedArgument[],
): string | undefined {
  const least = parameters.length - optional;
  if (given.length < least || (given.length > parameters.length && further === undefined)) {
    const most = further === undefined ? parameters.length : undefined;
    const wanted =
      most === undefined
        ? `at least ${least}`
        : least === most
          ? `${least}`
          : `${least} to ${most}`;
    return `${name} takes ${wanted} arguments, not ${given.length}`;
  }
  for (const [index, { argument, type }] of given.entries()) {
    const parameter = parameters[index] ?? further;
    if (parameter === undefined) continue;
    const place = `argument ${index + 1} of ${name}`;
    const isLiteral =
      argument.kind === "bytes" || argument.kind === "integer" || argument.kind === "address";
    if (isLiteral && parameter.takes === "field") return `${place} must not be a literal`;
    if (!isLiteral && parameter.takes === "literal") return `${place} must be a literal`;
    if (!parameter.types.some((one) => sameType(one, type))) {
      return `${place} must be ${parameter.types.map(nameOfType).join(" or ")}, not ${nameOfType(type)}`;
    }
    if (result === "as the first argument" && given[0] && !sameType(given[0].type, type)) {
      return `${place} must be ${nameOfType(given[0].type)} like the first, not ${nameOfType(type)}`;
    }
    const value =
      argument.kind === "bytes"
        ? argument.bytes
        : argument.kind === "integer"
          ? argument.integer
          : undefined;
    const refused = value === undefined ? undefined : parameter.refuse?.(value);
    if (refused !== undefined) return `${place} ${refused}`;
  }
  return undefined;
}

/** The type of a call's result, before a mapped argument makes a list of it. */
export function resultOf({ result }: Signature, given: readonly TypedArgument[]): ValueType {
  if (result !== "as the first argument") return result;
  return given[0]?.type ?? "bytes";
}
