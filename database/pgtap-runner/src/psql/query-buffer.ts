/** A place in a test file, as people count: from 1. */
export interface Location {
  file: string;
  line: number;
  column: number;
}

interface Piece {
  /** Where in the text this piece starts. */
  offset: number;
  location: Location;
  /** The text does not stand in the file but comes from a variable used there. */
  substituted: boolean;
}

/** The statement that is being gathered, which knows where each part of it came from. */
export class QueryBuffer {
  #text = "";
  #pieces: Piece[] = [];

  get text(): string {
    return this.#text;
  }

  get length(): number {
    return this.#text.length;
  }

  append(text: string, location: Location, substituted = false): void {
    this.#pieces.push({ offset: this.#text.length, location, substituted });
    this.#text += text;
  }

  /** Ends a line of the source inside the statement. */
  appendNewline(): void {
    this.#text += "\n";
  }

  /** Forgets everything after the first `length` characters. */
  truncate(length: number): void {
    this.#text = this.#text.slice(0, length);
    while ((this.#pieces.at(-1)?.offset ?? -1) >= length) this.#pieces.pop();
  }

  clear(): void {
    this.#text = "";
    this.#pieces = [];
  }

  /** Where in the files the character stands that the server counts as number `position`. */
  locate(position: number): Location | undefined {
    // The server counts characters, JavaScript counts UTF-16 units.
    let offset = 0;
    for (let count = 1; count < position && offset < this.#text.length; count++) {
      offset += (this.#text.codePointAt(offset) ?? 0) > 0xffff ? 2 : 1;
    }
    return this.locateOffset(offset);
  }

  /** Where in the files the text at this offset stands. */
  locateOffset(offset: number): Location | undefined {
    let found: Piece | undefined;
    for (const piece of this.#pieces) {
      if (piece.offset > offset) break;
      found = piece;
    }
    if (found === undefined) return undefined;
    const distance = found.substituted ? 0 : offset - found.offset;
    return { ...found.location, column: found.location.column + distance };
  }

  /** A copy that later changes of this buffer leave alone. */
  snapshot(): QueryBuffer {
    const copy = new QueryBuffer();
    copy.#text = this.#text;
    copy.#pieces = [...this.#pieces];
    return copy;
  }
}
