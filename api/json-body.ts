import type { IncomingMessage } from 'node:http';
import { MIMEType } from 'node:util';
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
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const piece of piecesOf(request)) {
    bytes += piece.length;
    if (bytes > bodyLimits.bytes) break;
    chunks.push(piece);
  }
  if (bytes > bodyLimits.bytes) {
    await discardRest(request);
    throw new AgentRunError('payload-too-large', `the body is larger than ${bodyLimits.bytes} bytes`);
  }
  if (bytes === 0) return undefined;
  requireMediaType(request, 'application/json');
  const text = decodeUtf8(Buffer.concat(chunks), 'body').trim();
  if (text === '') return undefined;
  const value = parseJson(text, bodyLimits.depth, 'body');
  requireStorableText(text);
  return value;
}

/** The bytes of a request as they arrive. Whoever stops in the middle leaves the connection open for the answer. */
export async function* piecesOf(request: IncomingMessage): AsyncGenerator<Buffer> {
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
  }
}

const discardedBytes = 16 * 1_048_576;

/** Reads the rest of a body that is refused, up to a bound: a client that is cut off while it sends may never see the answer. */
export async function discardRest(request: IncomingMessage): Promise<void> {
  let bytes = 0;
  for await (const piece of piecesOf(request)) {
    bytes += piece.length;
    if (bytes > discardedBytes) return;
  }
}

/**
 * Checks that a body is sent as `expected`, in UTF-8 and not compressed. A type must be given: browsers send a plain form or text unasked.
 *
 * @throws AgentRunError `unsupported-media-type`.
 */
export function requireMediaType(request: IncomingMessage, expected: string): void {
  const header = request.headers['content-type'];
  const type = mediaTypeOf(header);
  if (type?.essence !== expected) {
    throw new AgentRunError(
      'unsupported-media-type',
      // What was sent stays out of it: a header may hold anything.
      `content-type: expected ${expected}, received ${header === undefined ? 'none' : 'another'}`,
    );
  }
  if (!utf8Names.has(type.params.get('charset')?.toLowerCase() ?? 'utf-8')) {
    throw new AgentRunError('unsupported-media-type', 'content-type: expected the charset utf-8');
  }
  const encoding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (encoding !== 'identity') {
    throw new AgentRunError(
      'unsupported-media-type',
      'content-encoding: expected a body that is not compressed',
    );
  }
}

const utf8Names: ReadonlySet<string> = new Set(['utf-8', 'utf8', 'us-ascii']);

function mediaTypeOf(header: string | undefined): MIMEType | undefined {
  try {
    return new MIMEType(header ?? '');
  } catch {
    return undefined;
  }
}

/** @throws AgentRunError `schema-invalid` for bytes that are no UTF-8: what they mean is not guessed. */
export function decodeUtf8(bytes: Uint8Array, part: string): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw wrong(part, 'expected UTF-8', 'bytes that are no UTF-8');
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Parses one JSON text.
 *
 * @param part names it in the error: `body`, or a line.
 * @throws AgentRunError `schema-invalid` for what is no JSON, or nested deeper than `maxDepth`.
 */
export function parseJson(text: string, maxDepth: number, part: string): unknown {
  if (isDeeperThan(text, maxDepth))
    throw wrong(part, `expected JSON of at most ${maxDepth} levels`, 'deeper');
  try {
    const value: unknown = JSON.parse(text);
    return value;
  } catch {
    throw wrong(part, 'expected JSON', 'text that is no JSON');
  }
}

/** U+0000 and halves of surrogate pairs can only arrive escaped, and only then are all strings walked through. */
const suspiciousEscape = /\\u(?:0000|d[89a-f])/i;
const unstorable = /\0|\p{Surrogate}/u;

/**
 * Postgres holds neither U+0000 nor half a surrogate pair; what people send has no use for them.
 *
 * @throws AgentRunError `schema-invalid`.
 */
function requireStorableText(text: string): void {
  if (!suspiciousEscape.test(text)) return;
  JSON.parse(text, (key, value: unknown) => {
    if (unstorable.test(key) || (typeof value === 'string' && unstorable.test(value))) {
      throw wrong('body', 'expected text without U+0000 and halves of surrogate pairs', 'such text');
    }
    return value;
  });
}

const wrong = (path: string, sentence: string, received: string) =>
  schemaInvalid([{ path, sentence, received }]);

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
