import { lookup as systemLookup } from 'node:dns';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import type { WebhookFailure } from '../../contract/webhooks.js';
import { isAllowedHost, isPublicAddress, literalAddress, targetProblem } from './target.js';

const timeoutMs = 10_000;
/** Of an answer so much is read, and thrown away. */
const longestAnswerBytes = 16_384;

/** What became of one POST. */
export interface PostResult {
  /** Null: there was no answer. */
  readonly status: number | null;
  /** Null: it was taken. */
  readonly failure: WebhookFailure | null;
  /** From the header `retry-after` of a refusal, in milliseconds; null: it does not say. */
  readonly retryAfterMs: number | null;
  readonly durationMs: number;
}

export interface PostOptions {
  readonly allowedHosts: readonly string[];
  /** All addresses of a name. Tests replace the system's. */
  readonly lookup?: LookupFunction;
  readonly timeoutMs?: number;
  /** Ends the POST before its time: the answer says nothing then. */
  readonly signal?: AbortSignal;
}

/** A name that leads to an address which is not public. */
class AddressRefusedError extends Error {
  readonly code = 'AGENTRUN_ADDRESS_REFUSED';

  constructor() {
    super('the host has an address that is not public');
  }
}

/**
 * Posts a message once, within 10 s in all. Every address that the host has at the moment of the connection must be public, and it is one of these that is
 * connected to: what a name answered before, or answers afterwards, counts for nothing. No redirect is followed, no proxy and no kept connection is used.
 *
 * Answers what became of it; never throws.
 */
export async function postMessage(
  text: string,
  message: { readonly headers: Readonly<Record<string, string>>; readonly body: string },
  options: PostOptions,
): Promise<PostResult> {
  const startedMs = performance.now();
  const result = (failure: WebhookFailure | null, answer?: IncomingMessage): PostResult => ({
    status: answer?.statusCode ?? null,
    failure,
    retryAfterMs: failure === null ? null : retryAfterMs(answer?.headers['retry-after'], Date.now()),
    durationMs: Math.round(performance.now() - startedMs),
  });
  if (targetProblem(text, options.allowedHosts) !== undefined)
    return result(isAddressOnly(text) ? 'address-refused' : 'url-refused');
  const end = new AbortController();
  const stop = () => end.abort();
  const timer = setTimeout(stop, options.timeoutMs ?? timeoutMs);
  options.signal?.addEventListener('abort', stop);
  if (options.signal?.aborted === true) stop();
  // Whatever a connection does or leaves undone, nothing here is waited for longer than this.
  const over = new Promise<null>((resolve) => {
    if (end.signal.aborted) resolve(null);
    end.signal.addEventListener('abort', () => resolve(null));
  });
  try {
    const answer = await Promise.race([send(new URL(text), message, options, end.signal), over]);
    if (answer === null) return result('timeout');
    await Promise.race([drop(answer), over]);
    return result(failureOf(answer.statusCode ?? 0), answer);
  } catch (error) {
    return result(end.signal.aborted ? 'timeout' : failureOfError(error));
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', stop);
    // Destroys a request that is still there.
    end.abort();
  }
}

function send(
  url: URL,
  message: { readonly headers: Readonly<Record<string, string>>; readonly body: string },
  options: PostOptions,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const isAllowed = isAllowedHost(url, options.allowedHosts);
  const systems = options.lookup ?? systemLookup;
  const isSecure = url.protocol === 'https:';
  const common = {
    method: 'POST',
    headers: { ...message.headers, 'content-length': String(Buffer.byteLength(message.body)) },
    lookup: isAllowed ? systems : publicOnly(systems),
    signal,
  };
  return new Promise((resolve, reject) => {
    const request = isSecure
      ? httpsRequest(url, { ...common, agent: new HttpsAgent(), rejectUnauthorized: true })
      : httpRequest(url, { ...common, agent: new HttpAgent() });
    // More than one: what comes after the end of the wait is nobody's.
    request.on('error', reject);
    request.once('response', resolve);
    // 101: the connection would be another protocol's from here on, and no `response` comes.
    request.once('upgrade', (answer, socket) => {
      socket.destroy();
      answer.destroy();
      resolve(answer);
    });
    request.once('close', () => reject(new Error('the connection was closed without an answer')));
    request.end(message.body);
  });
}

/** Lets a name through only when each of its addresses is public. It is the only look at the name: the connection takes what it answers. */
function publicOnly(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      const addresses = typeof found === 'string' ? [{ address: found, family: 0 }] : found;
      const [first] = addresses ?? [];
      if (error !== null) callback(error, '');
      else if (first === undefined || !addresses.every(({ address }) => isPublicAddress(address)))
        callback(new AddressRefusedError(), '');
      else if (options.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

/** Reads to the end, or to its bound: the connection is closed in any case. */
async function drop(answer: IncomingMessage): Promise<void> {
  let bytes = 0;
  try {
    for await (const chunk of answer) {
      bytes += Buffer.isBuffer(chunk) ? chunk.length : 0;
      if (bytes > longestAnswerBytes) break;
    }
  } catch {
    // The status has come, and nothing else counts.
  } finally {
    answer.destroy();
  }
}

function failureOf(status: number): WebhookFailure | null {
  if (status >= 200 && status < 300) return null;
  if (status >= 300 && status < 400) return 'redirect';
  return status === 410 ? 'gone' : 'http-status';
}

const tlsCode =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|EPROTO$)/;

function failureOfError(error: unknown): WebhookFailure {
  // All addresses of a name were tried and failed: the first says why.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const code = first instanceof Error && 'code' in first ? String(first.code) : '';
  if (first instanceof AddressRefusedError) return 'address-refused';
  if (tlsCode.test(code)) return 'tls';
  return code === 'ENOTFOUND' || code.startsWith('EAI_') ? 'dns' : 'connection';
}

/** Whether nothing but the address is wrong with a URL. */
function isAddressOnly(text: string): boolean {
  return (
    URL.canParse(text) && new URL(text).protocol === 'https:' && literalAddress(new URL(text)) !== undefined
  );
}

/** Seconds or a date; null for anything else. */
function retryAfterMs(header: string | undefined, nowMs: number): number | null {
  if (header === undefined) return null;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1_000;
  const atMs = Date.parse(header);
  return Number.isNaN(atMs) ? null : Math.max(0, atMs - nowMs);
}
