/** A type of the rules language. */
export type ValueType =
  | "boolean"
  | "integer"
  | "bytes"
  | "address"
  | { array: ValueType }
  | { map: ValueType };

export function sameType(one: ValueType, other: ValueType): boolean {
  if (typeof one === "string" || typeof other === "string") return one === other;
  if ("array" in one) return "array" in other && sameType(one.array, other.array);
  return "map" in other && sameType(one.map, other.map);
}

/** What an index or `[*]` of a value of this type yields; undefined where it has no elements. */
export function elementOf(type: ValueType): ValueType | undefined {
  if (typeof type === "string") return undefined;
  return "array" in type ? type.array : type.map;
}

/** As error messages write it. */
export function nameOfType(type: ValueType): string {
  if (typeof type === "string") return type;
  return "array" in type ? `array of ${nameOfType(type.array)}` : `map of ${nameOfType(type.map)}`;
}
