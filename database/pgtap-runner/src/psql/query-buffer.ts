/** A place in a test file, as people count: from 1. */
export interface Location {
  file: string;
  line: number;
  column: number;
}

interface Piece {
  /** Where in the text this piece starts. */
  offset: number;
  /** The line that it stands in, or where the variable is used that it comes from. */
  location: Location;
  /** Characters between that place and this piece. */
  distance: number;
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

  /** @param distance how many characters after `location` the text stands */
  append(text: string, location: Location, distance: number, substituted = false): void {
    const last = this.#pieces.at(-1);
    const offset = this.#text.length;
    // Most text goes on where the text before it ended.
    const continues =
      last !== undefined &&
      last.location === location &&
      last.substituted === substituted &&
      (substituted || last.distance + offset - last.offset === distance);
    if (!continues) this.#pieces.push({ offset, location, distance, substituted });
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
    return { ...found.location, column: found.location.column + found.distance + distance };
  }

  /** Moves everything into a buffer of its own. */
  take(): QueryBuffer {
    const taken = new QueryBuffer();
    taken.#text = this.#text;
    taken.#pieces = this.#pieces;
    this.clear();
    return taken;
  }
}
