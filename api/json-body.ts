import type { IncomingMessage } from 'node:http';
import { AgentRunError } from '../contract/errors.js';
import { schemaInvalid } from './validation.js';

/** decisions.md, limits. */
export const bodyLimits = { bytes: 1_048_576, depth: 32 } as const;

/**
 * Reads a JSON body. An empty one is undefined.
 *
 * @throws AgentRunError `unsupported-media-type`, `payload-too-large`, or `schema-invalid` for what is no JSON.
 */
export async function readJsonBody(request: IncomingMessage): Promise<unknown> {
  if (Number(request.headers['content-length'] ?? 0) > bodyLimits.bytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    const piece: Buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
    bytes += piece.length;
    if (bytes > bodyLimits.bytes) throw tooLarge();
    chunks.push(piece);
  }
  const text = Buffer.concat(chunks).toString('utf8').trim();
  if (text === '') return undefined;
  requireMediaType(request, 'application/json');
  // Text columns of Postgres cannot hold it; what people send has no use for it.
  if (escapedNull.test(text)) throw wrongBody('expected text without U+0000', 'U+0000');
  return parseJson(text, bodyLimits.depth);
}

const escapedNull = /(?<!\\)(?:\\\\)*\\u0000/;

const tooLarge = () =>
  new AgentRunError('payload-too-large', `the body is larger than ${bodyLimits.bytes} bytes`);

/** @throws AgentRunError `unsupported-media-type`. A type must be given: browsers send a plain form or text unasked. */
export function requireMediaType(request: IncomingMessage, expected: string): void {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? 'none';
  const encoding = request.headers['content-encoding']?.toLowerCase() ?? 'identity';
  if (type !== expected) {
    throw new AgentRunError(
      'unsupported-media-type',
      `content-type: expected ${expected}, received ${type.slice(0, 100)}`,
    );
  }
  if (encoding !== 'identity') {
    throw new AgentRunError(
      'unsupported-media-type',
      'content-encoding: expected a body that is not compressed',
    );
  }
}

/** @throws AgentRunError `schema-invalid` for what is no JSON, is or nested deeper than `maxDepth`. */
export function parseJson(text: string, maxDepth: number): unknown {
  if (isDeeperThan(text, maxDepth)) throw wrongBody(`expected JSON of at most ${maxDepth} levels`, 'deeper');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrongBody('expected JSON', 'text that is no JSON');
  }
  return value;
}

const wrongBody = (expected: string, received: string) =>
  schemaInvalid([{ path: 'body', expected, received }]);

/** Counts brackets outside strings, before the parser and every recursive walk meets them. */
function isDeeperThan(text: string, maxDepth: number): boolean {
  let depth = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charCodeAt(index);
    if (inString) {
      if (character === 0x5c) index += 1;
      else if (character === 0x22) inString = false;
    } else if (character === 0x22) inString = true;
    else if (character === 0x5b || character === 0x7b) {
      depth += 1;
      if (depth > maxDepth) return true;
    } else if (character === 0x5d || character === 0x7d) depth -= 1;
  }
  return false;
}
