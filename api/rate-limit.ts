import type { Request, Response } from 'express';
import { ipKeyGenerator, MemoryStore, rateLimit } from 'express-rate-limit';
import { AgentRunError } from '../contract/errors.js';
import type { Caller } from './auth.js';

const windowMs = 60_000;
/** Runners heartbeat, poll and upload: what stops a person must not stop them. */
const runnerFactor = 10;

/** What is counted apart: live text is worth nothing, and must not stop the heartbeats of the runner that sends it. */
export type CountedKind = 'api' | 'runner' | 'live-text';

/** How many requests a caller may make; counted by this process alone, so behind several replicas the sum of theirs. */
export interface RateLimits {
  /**
   * Counts a request; its answer carries `RateLimit` and `RateLimit-Policy`.
   *
   * @throws AgentRunError `rate-limited` with the seconds to wait.
   */
  count(caller: Caller, kind: CountedKind, request: Request, response: Response): Promise<void>;
}

/** @param perMinute requests per minute of one API caller; 0 is without a limit. Runner routes have ten times as many, counted apart, and live text as many again. */
export function createRateLimits(perMinute: number): RateLimits {
  if (perMinute === 0) return { count: () => Promise.resolve() };
  const keys = new WeakMap<Request, string>();
  const limiterOf = (limit: number, identifier: string) =>
    rateLimit({
      windowMs,
      limit,
      identifier,
      standardHeaders: 'draft-8',
      legacyHeaders: false,
      keyGenerator: (request) => keys.get(request) ?? '',
      handler: (_request, response, next) => {
        const seconds = Number(response.getHeader('retry-after') ?? 1);
        next(tooMany(`more than ${limit} requests in a minute`, Math.max(1, seconds)));
      },
      // They look for mistakes with addresses, which are no keys here.
      validate: false,
    });
  const limiters = {
    api: limiterOf(perMinute, 'caller'),
    runner: limiterOf(perMinute * runnerFactor, 'runner'),
    'live-text': limiterOf(perMinute * runnerFactor, 'live-text'),
  };
  return {
    async count(caller, kind, request, response) {
      keys.set(request, callerKey(caller));
      const limiter = limiters[caller.kind !== 'api' && kind === 'api' ? 'runner' : kind];
      await new Promise<void>((resolve, reject) => {
        const next = (error?: unknown) => {
          if (error === undefined) resolve();
          else reject(error instanceof Error ? error : new Error('the rate limit failed'));
        };
        void limiter(request, response, next);
      });
    },
  };
}

/** Callers of one name in two tenants are two; so are a token and a subject of the issuer of one name. */
export function callerKey(caller: Caller): string {
  switch (caller.kind) {
    case 'nobody':
      return caller.kind;
    case 'api':
      return JSON.stringify([caller.via, caller.name, caller.tenantId ?? null]);
    case 'launch':
    case 'runner':
      return JSON.stringify(['job', caller.claims.job]);
    case 'run':
      return JSON.stringify(['job', caller.runner.jobName]);
  }
}

/** How many unknown tokens an address may send before it is told to wait. Known tokens are never asked about here. */
export interface GuessLimit {
  /** @throws AgentRunError `rate-limited` for an address that has sent too many. */
  count(address: string): Promise<void>;
}

/** @param perMinute unknown tokens per minute of one address (of IPv6, one /56); 0 is without a limit. */
export function createGuessLimit(perMinute: number): GuessLimit {
  if (perMinute === 0) return { count: () => Promise.resolve() };
  const store = new MemoryStore();
  // Gives the store its window.
  rateLimit({ windowMs, limit: perMinute, store, validate: false });
  return {
    async count(address) {
      const { totalHits, resetTime } = await store.increment(ipKeyGenerator(address));
      if (totalHits <= perMinute) return;
      const restMs = (resetTime?.getTime() ?? Date.now() + windowMs) - Date.now();
      throw tooMany('too many unknown tokens from this address', Math.max(1, Math.ceil(restMs / 1_000)));
    },
  };
}

const tooMany = (message: string, retryAfterSeconds: number) =>
  new AgentRunError('rate-limited', message, { retryAfterSeconds });
