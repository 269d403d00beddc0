import { z } from 'zod';
import { streamTimes } from '../../contract/streams.js';
import { integerSetting } from './setting-types.js';

const cap = integerSetting({ min: 1, max: 1_000_000 });

/** The variables of the API about its streams (decisions.md, "Stream frames"); `streamSettings` reads them. */
export const streamVariables = {
  AGENTRUN_STREAMS_PER_PROCESS: cap
    .default(1_000)
    .describe('Streams that one API process serves at a time; more are answered 503.'),
  AGENTRUN_STREAMS_PER_RUN: cap
    .default(25)
    .describe('Streams of one run, or of one session, in one API process; more are answered 429.'),
  AGENTRUN_STREAMS_PER_TOKEN: cap
    .default(100)
    .describe('Streams of one token in one API process; more are answered 429.'),
  AGENTRUN_STREAMS_PER_TENANT: cap
    .default(500)
    .describe(
      'Streams of all tokens that are bound to one tenant, in one API process; more are answered 429. Less than `AGENTRUN_STREAMS_PER_PROCESS`, so that one tenant leaves room for others.',
    ),
  AGENTRUN_STREAM_MAX_AGE_MS: integerSetting({ min: 100, max: 86_400_000 })
    .default(3_600_000)
    .describe(
      'Age at which a stream is rotated, in milliseconds, up to a tenth earlier: its client comes back at once, perhaps to another process.',
    ),
  AGENTRUN_STREAM_KEEPALIVE_MS: integerSetting({ min: 100, max: streamTimes.keepaliveMs })
    .default(streamTimes.keepaliveMs)
    .describe(
      'How often a stream says that it lives, and looks at its token again, in milliseconds. Less than the idle timeout of every proxy.',
    ),
  AGENTRUN_STREAM_BUFFER_BYTES: integerSetting({ min: 16_384, max: 16_777_216 })
    .default(262_144)
    .describe('Bytes that may wait for the reader of one stream before no more is read for it.'),
  AGENTRUN_STREAM_SLOW_MS: integerSetting({ min: 100, max: 600_000 })
    .default(30_000)
    .describe(
      'A reader that takes nothing of those bytes within this time, in milliseconds, is cut off; it comes back with its cursor.',
    ),
};
const schema = z.object(streamVariables);

/** How many streams an API process serves, how long each lives and how much may wait for it. */
export interface StreamSettings {
  readonly perProcess: number;
  readonly perRun: number;
  readonly perToken: number;
  readonly perTenant: number;
  readonly maxAgeMs: number;
  readonly keepaliveMs: number;
  readonly bufferBytes: number;
  readonly slowMs: number;
}

/** The settings about streams of a process that has {@link streamVariables}. */
export function streamSettings(read: z.output<typeof schema>): StreamSettings {
  return {
    perProcess: read.AGENTRUN_STREAMS_PER_PROCESS,
    perRun: read.AGENTRUN_STREAMS_PER_RUN,
    perToken: read.AGENTRUN_STREAMS_PER_TOKEN,
    perTenant: read.AGENTRUN_STREAMS_PER_TENANT,
    maxAgeMs: read.AGENTRUN_STREAM_MAX_AGE_MS,
    keepaliveMs: read.AGENTRUN_STREAM_KEEPALIVE_MS,
    bufferBytes: read.AGENTRUN_STREAM_BUFFER_BYTES,
    slowMs: read.AGENTRUN_STREAM_SLOW_MS,
  };
}
