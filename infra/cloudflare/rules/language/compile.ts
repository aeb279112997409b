import { CtmError } from "#system";
import { networkBounds, numericAddress, type NumericAddress } from "./addresses.ts";
import type { Argument, Comparison, Expression, Literal, Member, Test, Value } from "./ast.ts";
import { implementations, listOf, type Evaluated } from "./function-values.ts";
import { printExpression } from "./print.ts";
import { compileRegex } from "./regex.ts";
import type { RequestFields } from "./request-fields.ts";
import { compileWildcard } from "./wildcard.ts";

type Read = (fields: RequestFields) => Evaluated;

/**
 * Makes a checked expression executable.
 *
 * @throws CtmError `not-evaluated` for lists of the account and for functions of other phases
 */
export function compileExpression(expression: Expression): (fields: RequestFields) => boolean {
  const read = compile(expression);
  return (fields) => read(fields) === true;
}

/** A boolean, or a list of them. */
function compile(expression: Expression): Read {
  switch (expression.kind) {
    case "comparison": {
      return compileComparison(expression);
    }
    case "negation": {
      const operand = compile(expression.operand);
      return (fields) => each(operand(fields), (value) => value !== true);
    }
    case "combination": {
      const [first, ...others] = expression.operands.map(compile);
      if (first === undefined) return () => false;
      const { operator } = expression;
      return (fields) =>
        others.reduce<Evaluated>((left, right) => {
          if (operator === "and" && left === false) return false;
          if (operator === "or" && left === true) return true;
          return pairwise(left, right(fields), (one, other) => {
            if (operator === "and") return one && other;
            return operator === "or" ? one || other : one !== other;
          });
        }, first(fields));
    }
  }
}

function each(value: Evaluated, change: (one: Evaluated) => Evaluated): Evaluated {
  return Array.isArray(value) ? listOf(value).map(change) : change(value);
}

/** Lists are combined element by element, as far as the shorter one goes. */
function pairwise(
  left: Evaluated,
  right: Evaluated,
  combine: (one: boolean, other: boolean) => boolean,
): Evaluated {
  if (!Array.isArray(left)) return combine(left === true, right === true);
  const others = listOf(right);
  return listOf(left)
    .slice(0, others.length)
    .map((one, index) => combine(one === true, others[index] === true));
}

function compileComparison({ left, test }: Comparison): Read {
  const read = compileValue(left);
  const matches = compileTest(test);
  const mapped = left.indexes.includes("each");
  return (fields) => {
    const value = read(fields);
    if (mapped) return listOf(value).map((one) => matches(one, fields));
    if (test.operator === "is true") return value ?? false;
    return matches(value, fields);
  };
}

type Matches = (value: Evaluated, fields: RequestFields) => boolean;

function compileTest(test: Test): Matches {
  switch (test.operator) {
    case "is true": {
      return (value) => value === true;
    }
    case "bitwise_and": {
      return (value) => typeof value === "bigint" && (value & test.right) !== 0n;
    }
    case "contains": {
      return (value) => typeof value === "string" && value.includes(test.right);
    }
    case "matches": {
      const matches = compileRegex(test.pattern);
      return (value) => typeof value === "string" && matches(value);
    }
    case "wildcard":
    case "strict wildcard": {
      const matches = compileWildcard(test.pattern, test.operator === "strict wildcard");
      return (value) => typeof value === "string" && matches(value);
    }
    case "in": {
      const members = test.members.map(compileMember);
      return (value) => members.some((isMember) => isMember(value));
    }
    case "in list": {
      throw notEvaluated(`the list $${test.list}`);
    }
    case "eq":
    case "ne":
    case "ge":
    case "le":
    case "gt":
    case "lt": {
      const { right, operator } = test;
      const read = right.kind === "value" ? compileValue(right) : () => literalValue(right);
      return (value, fields) => {
        const order = compare(value, read(fields));
        switch (operator) {
          case "eq": {
            return order === 0;
          }
          // What is not there is unequal to everything.
          case "ne": {
            return order !== 0;
          }
          case "ge": {
            return order !== undefined && order >= 0;
          }
          case "le": {
            return order !== undefined && order <= 0;
          }
          case "gt": {
            return order !== undefined && order > 0;
          }
          case "lt": {
            return order !== undefined && order < 0;
          }
        }
      };
    }
  }
}

/** Below, at or above 0; undefined where two values have no order. */
function compare(left: Evaluated, right: Evaluated): number | undefined {
  if (typeof left === "string" && typeof right === "string") return sign(left, right);
  if (typeof left === "bigint" && typeof right === "bigint") return sign(left, right);
  if (isAddress(left) && isAddress(right) && left.bits === right.bits) {
    return sign(left.value, right.value);
  }
  return undefined;
}

function sign<Ordered extends string | bigint>(left: Ordered, right: Ordered): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

function isAddress(value: Evaluated): value is NumericAddress {
  return typeof value === "object" && "bits" in value;
}

function literalValue(literal: Literal): Evaluated {
  switch (literal.kind) {
    case "bytes": {
      return literal.bytes;
    }
    case "integer": {
      return literal.integer;
    }
    case "address": {
      return numericAddress(literal.address);
    }
  }
}

function compileMember(member: Member): (value: Evaluated) => boolean {
  switch (member.kind) {
    case "bytes": {
      return (value) => value === member.bytes;
    }
    case "integers": {
      return (value) => typeof value === "bigint" && value >= member.first && value <= member.last;
    }
    case "addresses": {
      return within(numericAddress(member.first), numericAddress(member.last));
    }
    case "network": {
      const bounds = networkBounds(member.network);
      return within(bounds?.first, bounds?.last);
    }
  }
}

function within(
  first: NumericAddress | undefined,
  last: NumericAddress | undefined,
): (value: Evaluated) => boolean {
  return (value) =>
    isAddress(value) &&
    value.bits === first?.bits &&
    value.value >= first.value &&
    last !== undefined &&
    value.value <= last.value;
}

function compileValue({ source, indexes }: Value): Read {
  const read = "field" in source ? compileField(source.field) : compileCall(source);
  if (indexes.length === 0) return read;
  return (fields) => {
    let values: Evaluated[] = [read(fields)];
    for (const index of indexes) {
      values = values.flatMap((value): Evaluated[] => {
        if (index === "each")
          return value instanceof Map ? [...value.values()] : [...listOf(value)];
        const found = "key" in index ? keyed(value, index.key) : listOf(value)[index.position];
        return found === undefined ? [] : [found];
      });
    }
    return indexes.includes("each") ? values : values[0];
  };
}

function keyed(value: Evaluated, key: string): Evaluated {
  return value instanceof Map ? value.get(key) : undefined;
}

function compileField(name: string): Read {
  return (fields) => fields.get(name);
}

function compileCall(source: Extract<Value["source"], { call: string }>): Read {
  const implementation = implementations.get(source.call);
  if (implementation === undefined) throw notEvaluated(`the function ${source.call}`);
  const given = source.arguments.map(compileArgument);
  const [first] = source.arguments;
  const mapped = first?.kind === "value" && first.indexes.includes("each");
  // The same call in several rules is worked out once a request.
  const key = printExpression({
    kind: "comparison",
    left: { kind: "value", source, indexes: [] },
    test: { operator: "is true" },
  });
  return (fields) =>
    fields.remember(key, () => {
      const [head, ...rest] = given.map((read) => read(fields));
      if (!mapped) return implementation([head, ...rest]);
      return listOf(head)
        .map((one) => implementation([one, ...rest]))
        .filter((one) => one !== undefined);
    });
}

function compileArgument(argument: Argument): Read {
  switch (argument.kind) {
    case "value": {
      return compileValue(argument);
    }
    case "bytes":
    case "integer":
    case "address": {
      const value = literalValue(argument);
      return () => value;
    }
    case "combination":
    case "negation":
    case "comparison": {
      return compile(argument);
    }
  }
}

function notEvaluated(what: string): CtmError {
  return new CtmError("not-evaluated", `${what} is not evaluated here`, {
    next: "test the rule at Cloudflare",
  });
}
