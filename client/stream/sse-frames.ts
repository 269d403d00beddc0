import { createParser } from 'eventsource-parser';
import { ConnectionError } from '../api-errors.js';

/** One frame of server-sent events as it was sent. One without data is a place in the stream where nothing is, and has an id. */
export interface SseFrame {
  /** `event:`; undefined for an ordinary one. */
  readonly name: string | undefined;
  readonly id: string | undefined;
  readonly data: string | undefined;
}

/** The parser keeps an id to itself that comes without data; the server repeats it in a comment. */
const placeComment = /^at ([\x21-\x7e]{1,2000})$/;

/** Characters of one frame. An event is at most 1 MB of JSON. */
const largestFrame = 4 * 1_048_576;

/**
 * Takes the bytes of a stream as they come, cut anywhere, and gives back the frames that they complete. CRLF, CR and LF end lines; a byte order mark,
 * comments and unknown fields say nothing (requirements.md A.1.b 44). What is not ended by an empty line is no frame.
 */
export class SseReader {
  readonly #decoder = new TextDecoder();
  readonly #parser;
  #frames: SseFrame[] = [];
  #tooLarge = false;
  #endsWithCr = false;

  constructor() {
    this.#parser = createParser({
      onEvent: ({ event, id, data }) => this.#frames.push({ name: event, id, data }),
      onComment: (comment) => {
        const id = placeComment.exec(comment)?.[1];
        if (id !== undefined) this.#frames.push({ name: undefined, id, data: undefined });
      },
      onError: (error) => {
        if (error.type === 'max-buffer-size-exceeded') this.#tooLarge = true;
      },
      maxBufferSize: largestFrame,
    });
  }

  /** @throws ConnectionError `invalid-answer`: a frame is larger than any that the API sends. */
  push(bytes: Uint8Array): readonly SseFrame[] {
    return this.#feed(this.#decoder.decode(bytes, { stream: true }));
  }

  /** The bytes have ended. The parser waits for what follows a CR, which may be half of a line end; nothing does. */
  end(): readonly SseFrame[] {
    return this.#feed(this.#endsWithCr ? '\n' : '');
  }

  #feed(text: string): readonly SseFrame[] {
    if (text === '') return [];
    this.#endsWithCr = text.endsWith('\r');
    this.#parser.feed(text);
    if (this.#tooLarge) {
      throw new ConnectionError(
        'invalid-answer',
        `a frame of the stream has more than ${largestFrame} characters`,
      );
    }
    const frames = this.#frames;
    this.#frames = [];
    return frames;
  }
}
