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

/** A wait that is longer than this is no limit of a provider. */
const maxWaitMs = 400 * 86_400_000;

/**
 * When the provider's limit is reset, in epoch milliseconds: Retry-After (seconds or an HTTP date), else the latest of
 * the x-ratelimit-reset headers (`20s`, `6m0s`, `120ms`, seconds, or an epoch time). Null when nothing usable is there.
 */
export function resetTimeMs(headers: IncomingHttpHeaders, nowMs: number): number | null {
  const times = [
    waitMs(headers['retry-after-ms'], 1),
    waitMs(headers['retry-after'], 1_000) ?? dateWaitMs(headers['retry-after'], nowMs),
    latest(
      Object.entries(headers)
        .filter(([name]) => /^x-ratelimit-reset(-requests|-tokens)?$/.test(name))
        .map(([, value]) => (typeof value === 'string' ? resetWaitMs(value, nowMs) : null)),
    ),
  ];
  const wait = times.find((time) => time !== null && time <= maxWaitMs) ?? null;
  return wait === null ? null : nowMs + wait;
}

function latest(waits: readonly (number | null)[]): number | null {
  const known = waits.filter((wait) => wait !== null);
  return known.length === 0 ? null : Math.max(...known);
}

/** A number of units. */
function waitMs(text: string | string[] | undefined, unitMs: number): number | null {
  if (typeof text !== 'string' || !/^\d{1,10}(\.\d+)?$/.test(text)) return null;
  return Math.ceil(Number(text) * unitMs);
}

function dateWaitMs(text: string | undefined, nowMs: number): number | null {
  const date = Date.parse(text ?? '');
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs);
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A duration with units, seconds, or an epoch time in seconds or milliseconds. */
function resetWaitMs(text: string, nowMs: number): number | null {
  if (/^\d{9,10}$/.test(text)) return Math.max(0, Number(text) * 1_000 - nowMs);
  if (/^\d{12,13}$/.test(text)) return Math.max(0, Number(text) - nowMs);
  const seconds = waitMs(text, 1_000);
  if (seconds !== null || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return seconds;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  return Math.ceil(
    parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (unitsMs[unit ?? ''] ?? 0), 0),
  );
}
