import type { IncomingMessage } from 'node:http';
import { AgentRunError } from '../contract/errors.js';
import { type IngestLine, ingestLimits, ingestLineSchema } from '../contract/ingest.js';
import { decodeUtf8, discardRest, parseJson, piecesOf, requireMediaType } from './json-body.js';
import { parsePart } from './validation.js';

/** What could be read: the lines before the first problem are good and are to be stored (requirements.md A.1.a 5). */
export interface IngestBody {
  readonly lines: readonly IngestLine[];
  readonly problem: AgentRunError | null;
}

/** The agent's own words nest deeper than what people send. */
const lineDepth = 100;
const newline = 0x0a;

/**
 * Reads an NDJSON body line by line (requirements.md A.1.a 2 to 5): lines may be cut anywhere by the network, CRLF and blank lines are
 * fine, the last line needs no end. The first line that is malformed or over a limit ends the batch.
 */
export async function readIngestBody(request: IncomingMessage): Promise<IngestBody> {
  const lines: IngestLine[] = [];
  const take = (bytes: Buffer): void => {
    if (bytes.length > ingestLimits.lineBytes) throw tooLarge('lineBytes');
    const part = `line ${lines.length + 1}`;
    const text = decodeUtf8(bytes, part).trim();
    if (text === '') return;
    if (lines.length >= ingestLimits.eventsPerRequest) throw tooLarge('eventsPerRequest');
    lines.push(parsePart(ingestLineSchema, parseJson(text, lineDepth, part), part));
  };
  try {
    let rest: Buffer = Buffer.alloc(0);
    let total = 0;
    for await (const piece of piecesOf(request)) {
      // Asked only of a body that has something in it: an empty one is a probe.
      if (total === 0) requireMediaType(request, 'application/x-ndjson');
      total += piece.length;
      if (total > ingestLimits.requestBytes) throw tooLarge('requestBytes');
      let buffer = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      for (let end = buffer.indexOf(newline); end !== -1; end = buffer.indexOf(newline)) {
        take(buffer.subarray(0, end));
        buffer = buffer.subarray(end + 1);
      }
      if (buffer.length > ingestLimits.lineBytes) throw tooLarge('lineBytes');
      rest = buffer;
    }
    take(rest);
    return { lines, problem: null };
  } catch (error) {
    if (!(error instanceof AgentRunError)) throw error;
    await discardRest(request);
    return { lines, problem: error };
  }
}

const tooLarge = (limit: keyof typeof ingestLimits) =>
  new AgentRunError('payload-too-large', `the batch is over the limit ${limit} = ${ingestLimits[limit]}`, {
    details: { limit },
  });
