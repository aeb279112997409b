import { isIP } from "node:net";

/** An IPv4 or IPv6 address as a number, with the bits of its family. */
export interface NumericAddress {
  value: bigint;
  bits: 32 | 128;
}

/** Undefined for what is no address. IPv6 zones are none here. */
export function numericAddress(text: string): NumericAddress | undefined {
  const family = text.includes("%") ? 0 : isIP(text);
  if (family === 4) {
    const value = text.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n);
    return { value, bits: 32 };
  }
  if (family !== 6) return undefined;
  // The dotted tail of ::ffff:1.2.3.4 becomes two groups.
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const plain = dotted
    ? `${dotted[1]}${pair(dotted[2], dotted[3])}:${pair(dotted[4], dotted[5])}`
    : text;
  const [head = "", tail] = plain.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const left = groups(head);
  const right = groups(tail ?? "");
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  const all = [...left, ...Array.from({ length: zeros }, () => "0"), ...right];
  return { value: all.reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n), bits: 128 };
}

function pair(high = "0", low = "0"): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}

/** The first and last address of `address/bits`; undefined for what is no network. */
export function networkBounds(
  text: string,
): { first: NumericAddress; last: NumericAddress } | undefined {
  const [, address = "", length] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const base = numericAddress(address);
  if (base === undefined || length === undefined || Number(length) > base.bits) return undefined;
  const hostMask = (1n << BigInt(base.bits - Number(length))) - 1n;
  if ((base.value & hostMask) !== 0n) return undefined;
  return { first: base, last: { value: base.value | hostMask, bits: base.bits } };
}

/** The address with all but the first `length` bits cleared. */
export function maskAddress({ value, bits }: NumericAddress, length: number): NumericAddress {
  const hostMask = (1n << BigInt(bits - length)) - 1n;
  return { value: value & ~hostMask, bits };
}

/** The network that an address with a length lies in: 10.1.2.3/8 is in 10.0.0.0/8. */
export function networkOf(text: string): string {
  const [address = "", length] = text.split("/");
  const numeric = numericAddress(address);
  if (numeric === undefined || length === undefined) return text;
  const { value, bits } = maskAddress(numeric, Number(length));
  const size = bits === 32 ? 8n : 16n;
  const parts = Array.from({ length: bits / Number(size) }, (_, index) =>
    Number((value >> (BigInt(bits) - size * BigInt(index + 1))) & ((1n << size) - 1n)),
  );
  const joined = bits === 32 ? parts.join(".") : parts.map((part) => part.toString(16)).join(":");
  return `${joined}/${length}`;
}
