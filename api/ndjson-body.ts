import type { IncomingMessage } from 'node:http';
import { AgentRunError } from '../contract/errors.js';
import { ingestLimits } from '../contract/ingest.js';
import type { ReceivedLine } from '../store/append-batch.js';
import type { IngestBatch } from '../store/ingest.js';
import { readIngestLine } from './ingest-line.js';
import { decodeUtf8, discardRest, piecesOf, requireMediaType } from './json-body.js';
import { schemaInvalid } from './validation.js';

/** What could be read: the lines before the first problem are good and are to be stored (requirements.md A.1.a 5). */
export interface IngestBody extends IngestBatch {
  readonly problem: AgentRunError | null;
}

const newline = 0x0a;
const carriageReturn = 0x0d;

/**
 * Reads an NDJSON body line by line (requirements.md A.1.a 2 to 5): lines may be cut anywhere by the network, CRLF and blank lines are
 * fine, the last line needs no end. The first line that is malformed or over a limit ends the batch, and so does a body that takes too long; then a
 * completion line does not count.
 *
 * @param bodyMs within this time the body must have arrived.
 * @throws Error when the client has gone in the middle: nothing is stored.
 */
export async function readIngestBody(
  request: IncomingMessage,
  bodyMs: number = ingestLimits.bodyMs,
): Promise<IngestBody> {
  const body = new IngestLines();
  try {
    for await (const piece of inTime(piecesOf(request), bodyMs)) {
      // Asked only of a body that has something in it: an empty one is a probe.
      if (body.bytes === 0) requireMediaType(request, 'application/x-ndjson');
      body.add(piece);
    }
    body.end();
    return { lines: body.lines, finalSeq: body.finalSeq, problem: null };
  } catch (error) {
    if (!(error instanceof AgentRunError)) throw error;
    // Who is too slow is not waited for again.
    if (error.failureKind !== 'request-timeout') await discardRest(request);
    return { lines: body.lines, finalSeq: null, problem: error };
  }
}

/** The lines of a body, as its pieces come. */
class IngestLines {
  readonly lines: ReceivedLine[] = [];
  finalSeq: number | null = null;
  bytes = 0;
  /** The pieces of a line that has not ended. */
  #begun: Buffer[] = [];
  #begunBytes = 0;
  #read = 0;

  /** @throws AgentRunError `schema-invalid`, `payload-too-large`. */
  add(piece: Buffer): void {
    this.bytes += piece.length;
    if (this.bytes > ingestLimits.requestBytes) throw tooLarge('requestBytes');
    let start = 0;
    for (let end = piece.indexOf(newline); end !== -1; end = piece.indexOf(newline, start)) {
      this.#begin(piece.subarray(start, end));
      this.end();
      start = end + 1;
    }
    this.#begin(piece.subarray(start));
  }

  /** The line that has begun is whole. */
  end(): void {
    const [first, ...others] = this.#begun;
    if (first === undefined) return;
    const bytes = others.length === 0 ? first : Buffer.concat(this.#begun);
    this.#begun = [];
    this.#begunBytes = 0;
    const part = `line ${this.#read + 1}`;
    const text = decodeUtf8(bytes, part).trim();
    if (text === '') return;
    this.#read += 1;
    this.#take(bytes.at(-1) === carriageReturn ? bytes.subarray(0, -1) : bytes, text, part);
  }

  #begin(bytes: Buffer): void {
    this.#begunBytes += bytes.length;
    if (this.#begunBytes > ingestLimits.lineBytes) throw tooLarge('lineBytes');
    if (bytes.length > 0) this.#begun.push(bytes);
  }

  #take(bytes: Buffer, text: string, part: string): void {
    if (this.finalSeq !== null) {
      const sentence = 'expected nothing after the completion line';
      throw schemaInvalid([{ path: part, sentence, received: 'more' }]);
    }
    const line = readIngestLine(bytes, text, part);
    if ('complete' in line) this.finalSeq = line.complete.finalSeq;
    else if (this.lines.length >= ingestLimits.eventsPerRequest) throw tooLarge('eventsPerRequest');
    else this.lines.push(line);
  }
}

/** @throws AgentRunError `request-timeout` when not all pieces have come in time. */
async function* inTime(pieces: AsyncGenerator<Buffer>, limitMs: number): AsyncGenerator<Buffer> {
  let timer: NodeJS.Timeout | undefined;
  let isLate = false;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), limitMs);
  });
  try {
    for (;;) {
      const piece = await Promise.race([pieces.next(), late]);
      isLate = piece === 'late';
      if (piece === 'late') throw tooSlow(limitMs);
      if (piece.done === true) return;
      yield piece.value;
    }
  } finally {
    clearTimeout(timer);
    // The end of one that is still waited for would be waited for too.
    if (!isLate) await pieces.return(undefined);
  }
}

const tooSlow = (limitMs: number) =>
  new AgentRunError('request-timeout', `the batch did not arrive whole within ${limitMs} ms`, {
    details: { limit: 'bodyMs' },
  });

const tooLarge = (limit: keyof typeof ingestLimits) =>
  new AgentRunError('payload-too-large', `the batch is over the limit ${limit} = ${ingestLimits[limit]}`, {
    details: { limit },
  });
