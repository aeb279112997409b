/**
 * Text as the edge sees it: bytes. A byte string is a string whose characters are all below 256,
 * one a byte, so that lengths, indexes and case folding are those of the edge.
 */
export type ByteString = string;

export function bytesOfText(text: string): ByteString {
  return Buffer.from(text, "utf8").toString("latin1");
}

export function bytesOf(value: string | Uint8Array): ByteString {
  return typeof value === "string" ? bytesOfText(value) : Buffer.from(value).toString("latin1");
}

/** The text of a byte string, or undefined where it is no UTF-8. */
export function textOfBytes(bytes: ByteString): string | undefined {
  const buffer = Buffer.from(bytes, "latin1");
  const text = buffer.toString("utf8");
  return Buffer.from(text, "utf8").equals(buffer) ? text : undefined;
}
