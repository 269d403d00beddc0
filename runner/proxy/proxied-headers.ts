import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';

/** Headers that belong to one connection only (RFC 9110, 7.6.1). */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Headers that end at the proxy: the placeholder, the agent's idea of the host, and encodings that would hide the text. */
const notForwarded = new Set(['host', 'authorization', 'accept-encoding', 'cookie', 'expect']);

/** The agent's headers as the provider gets them, with the real key and the body uncompressed. */
export function upstreamHeaders(headers: IncomingHttpHeaders, key: string): OutgoingHttpHeaders {
  const forwarded = withoutHopByHop(headers);
  for (const name of notForwarded) delete forwarded[name];
  return { ...forwarded, authorization: `Bearer ${key}`, 'accept-encoding': 'identity' };
}

/** The provider's headers as the agent gets them. */
export function downstreamHeaders(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  return withoutHopByHop(headers);
}

function withoutHopByHop(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const named = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  const kept: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !hopByHop.has(name) && !named.includes(name)) kept[name] = value;
  }
  return kept;
}

/**
 * When the provider's limit is reset, in epoch milliseconds: Retry-After (seconds or an HTTP date), else the latest of
 * the x-ratelimit-reset headers (`20s`, `6m0s`, `120ms`, or seconds). Null when nothing usable is there.
 */
export function resetTimeMs(headers: IncomingHttpHeaders, nowMs: number): number | null {
  const retryAfterMs = headers['retry-after-ms'];
  if (typeof retryAfterMs === 'string' && /^\d{1,10}$/.test(retryAfterMs))
    return nowMs + Number(retryAfterMs);
  const retryAfter = headers['retry-after'];
  if (retryAfter !== undefined) {
    if (/^\d{1,8}(\.\d+)?$/.test(retryAfter)) return nowMs + Math.ceil(Number(retryAfter) * 1_000);
    const date = Date.parse(retryAfter);
    if (!Number.isNaN(date)) return date;
  }
  const waits = Object.entries(headers)
    .filter(([name]) => /^x-ratelimit-reset(-requests|-tokens)?$/.test(name))
    .map(([, value]) => durationMs(typeof value === 'string' ? value : ''))
    .filter((wait) => wait !== null);
  return waits.length === 0 ? null : nowMs + Math.max(...waits);
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function durationMs(text: string): number | null {
  if (/^\d{1,8}(\.\d+)?$/.test(text)) return Math.ceil(Number(text) * 1_000);
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return null;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  return Math.ceil(
    parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (unitsMs[unit ?? ''] ?? 0), 0),
  );
}
