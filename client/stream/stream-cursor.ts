/**
 * Where a reader is: the id of the last event that it has seen (decisions.md, "Stream frames"). Ids that are numbers, or numbers divided by a dot, are
 * compared, so that nothing is seen twice whatever the server sends again; others are opaque.
 */
export class StreamCursor {
  #id: string | undefined;

  /** @throws TypeError a cursor that no header can carry. */
  constructor(after: string | undefined) {
    if (after !== undefined && !/^[\x21-\x7e]{1,2000}$/.test(after)) {
      throw new TypeError('a cursor is the id of an event: 1 to 2,000 characters of ASCII without blanks');
    }
    this.#id = after;
  }

  get id(): string | undefined {
    return this.#id;
  }

  /** Moves to an event or a place of the stream; false, and nothing moves, when it is not behind the present one. */
  moveTo(id: string): boolean {
    if (this.#id !== undefined && !isAfter(id, this.#id)) return false;
    this.#id = id;
    return true;
  }

  /** Moves behind events that are not kept any more. Not to an opaque place: of the feed some may be left in between. */
  moveOverGap(to: string): void {
    if (numbersOf(to) !== undefined) this.moveTo(to);
  }
}

function isAfter(id: string, cursor: string): boolean {
  const here = numbersOf(id);
  const there = numbersOf(cursor);
  if (here?.length !== there?.length) return id !== cursor;
  for (const [index, number] of (here ?? []).entries()) {
    const other = there?.[index] ?? 0;
    if (number !== other) return number > other;
  }
  return here === undefined && id !== cursor;
}

function numbersOf(id: string): number[] | undefined {
  return /^\d{1,15}(?:\.\d{1,15})?$/.test(id) ? id.split('.').map(Number) : undefined;
}
