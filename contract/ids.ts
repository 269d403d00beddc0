import { z } from 'zod';
import { optional } from './optional.js';

/** Prefixes of the ids that AgentRun makes (decisions.md, HTTP "ids"). */
export const idPrefixes = {
  session: 'sess',
  run: 'run',
  command: 'cmd',
  runnerJob: 'job',
  runner: 'rnr',
  queueTask: 'task',
  event: 'evt',
  agentRequest: 'req',
  auditEntry: 'aud',
  webhook: 'whk',
  webhookDelivery: 'dlv',
} as const;

export type IdPrefix = (typeof idPrefixes)[keyof typeof idPrefixes];

const generatedId = (prefix: IdPrefix) =>
  z
    .string()
    .regex(
      new RegExp(`^${prefix}_[0-9a-hjkmnp-tv-z]{26}$`),
      `expected an id of the form ${prefix}_<26 characters>`,
    );

/** A caller-chosen session id (decisions.md): one safe path segment of at most 128 characters. */
export const sessionIdSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/,
    'expected 1 to 128 characters of A-Z a-z 0-9 _ . - beginning with a letter or digit',
  );

/** A session id in a body: blank space around it does not count, and a blank or absent one asks for a generated id (contract.md 3.3). */
export const sessionIdInputSchema = optional(
  z
    .string()
    .regex(
      /^[ \t\r\n]*(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,127})?[ \t\r\n]*$/,
      'expected 1 to 128 characters of A-Z a-z 0-9 _ . - beginning with a letter or digit, or none',
    )
    .transform((text) => (text.trim() === '' ? undefined : text.trim())),
);
export const runIdSchema = generatedId(idPrefixes.run);
export const commandIdSchema = generatedId(idPrefixes.command);
export const runnerJobIdSchema = generatedId(idPrefixes.runnerJob);
export const runnerIdSchema = generatedId(idPrefixes.runner);
export const queueTaskIdSchema = generatedId(idPrefixes.queueTask);
export const agentRequestIdSchema = generatedId(idPrefixes.agentRequest);
export const webhookIdSchema = generatedId(idPrefixes.webhook);
export const webhookDeliveryIdSchema = generatedId(idPrefixes.webhookDelivery);

const crockford = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * Writes the 16 bytes of a UUIDv7 as 26 lower-case Crockford base 32 characters behind a prefix. The text sorts as the
 * bytes do, so ids sort by time; events are partitioned by that order (architecture.md 6).
 */
export function encodeId(prefix: IdPrefix, uuidBytes: Uint8Array): string {
  if (uuidBytes.length !== 16) throw new RangeError(`a UUID has 16 bytes, not ${uuidBytes.length}`);
  let text = '';
  // Of the 130 bits of 26 characters the first two are 0.
  let waiting = 0;
  let bits = 2;
  for (const byte of uuidBytes) {
    waiting = (waiting << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += crockford.charAt((waiting >> (bits - 5)) & 31);
    waiting &= 31;
  }
  return `${prefix}_${text}`;
}

/** The smallest id of a prefix whose UUIDv7 carries `timeMs` (epoch milliseconds): a partition bound. */
export function lowestIdAt(prefix: IdPrefix, timeMs: number): string {
  const bytes = new Uint8Array(16);
  let rest = BigInt(timeMs);
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = Number(rest & 255n);
    rest >>= 8n;
  }
  return encodeId(prefix, bytes);
}
