/**
 * Puts the stack that was named on the command line into what is proposed next: somebody who
 * copies `ctm start` must not start another stack.
 */
export function nameStack(next: string, stack: string): string {
  return next
    .replaceAll(/\bctm (?=[a-z])/g, `ctm --stack ${stack} `)
    .replaceAll(/\bnpm run (up|down)\b(?! --)/g, `npm run $1 -- --stack ${stack}`);
}

/** As `nameStack`, for each field `next` of a document. */
export function nameStackInDocument(document: unknown, stack: string): unknown {
  if (Array.isArray(document)) return document.map((each) => nameStackInDocument(each, stack));
  if (typeof document !== "object" || document === null) return document;
  return Object.fromEntries(
    Object.entries(document).map(([name, value]): [string, unknown] => [
      name,
      name === "next" && typeof value === "string"
        ? nameStack(value, stack)
        : nameStackInDocument(value, stack),
    ]),
  );
}

/** As `nameStack`, for each line of a text that begins with `next:`. */
export function nameStackInText(text: string, stack: string): string {
  return text.replaceAll(/^ *next: .*$/gm, (line) => nameStack(line, stack));
}
