import {
  ApiError,
  backoffMs,
  type ClientLog,
  ConnectionError,
  errorText,
  pause,
} from '../../client/index.js';

/** What is wrong with the way to the API, so that no repetition helps. */
export interface PreflightFinding {
  readonly kind: 'wrong-url' | 'token-refused';
  /** For the run's failure reason: names the base URL and the setting that it came from. */
  readonly message: string;
}

/**
 * An answer that is none of AgentRun's is asked for again before it is believed: while the API restarts, whatever stands before it may speak for it.
 */
const foreignAnswers = { attempts: 4, baseDelayMs: 500, maxDelayMs: 2_000 };

interface Preflight {
  /** Repeats what passes by itself (5xx, no connection) within its own budget. */
  readonly whoami: () => Promise<unknown>;
  readonly managerUrl: string;
  readonly managerUrlVariable: string;
  /** Fires when the answer is of no interest any more. */
  readonly signal: AbortSignal;
  readonly log: ClientLog;
  readonly wait?: (delayMs: number, signal: AbortSignal) => Promise<void>;
}

/**
 * Registers, and beside it asks the API who the launch token is (requirements.md A.0.c 28): a registration that succeeds has found the API, which may be
 * an older one without this question; one that is refused as by a wrong address is explained by the other answer. What that answer does not confirm is
 * tried once more.
 *
 * @returns undefined when the runner is registered.
 * @throws the error of `register`; of both when the API was away for its whole budget: an outage is no finding.
 */
export async function registerWithPreflight(
  options: Preflight & {
    /** As `whoami`. May be repeated. */
    readonly register: () => Promise<void>;
  },
): Promise<PreflightFinding | undefined> {
  const registered = new AbortController();
  const asked = preflight({ ...options, signal: AbortSignal.any([options.signal, registered.signal]) });
  // It is awaited only where registering fails.
  asked.catch(() => undefined);
  try {
    await options.register();
    registered.abort();
    return undefined;
  } catch (error) {
    if (judge(error, options.managerUrl) === undefined || options.signal.aborted) {
      registered.abort();
      throw error;
    }
  }
  const finding = await asked;
  if (finding === undefined) await options.register();
  return finding;
}

/**
 * Asks the API who the launch token is. Undefined: nothing is wrong with URL and token.
 *
 * - AgentRun says that the route does not exist: the base URL has a path too many or too few.
 * - Somebody else answers, and keeps doing so: the base URL names another service.
 * - AgentRun answers 401 or 403: the token is not taken.
 *
 * @throws the error of `whoami` when the API was away for its whole budget: an outage is no finding.
 */
export async function preflight(options: Preflight): Promise<PreflightFinding | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await options.whoami();
      return undefined;
    } catch (error) {
      const judged = judge(error, `${options.managerUrl} (from ${options.managerUrlVariable})`);
      if (judged === undefined || options.signal.aborted) throw error;
      if (!judged.mayPass || attempt >= foreignAnswers.attempts) return judged.finding;
      const delayMs = backoffMs(foreignAnswers, attempt, undefined);
      options.log.warn(
        { attempt, attempts: foreignAnswers.attempts, delayMs },
        `${judged.finding.message}; asking again in ${delayMs} ms`,
      );
      await (options.wait ?? pause)(delayMs, options.signal);
      if (options.signal.aborted) throw error;
    }
  }
}

function judge(error: unknown, base: string): { finding: PreflightFinding; mayPass: boolean } | undefined {
  if (error instanceof ConnectionError && error.reason === 'invalid-answer')
    return {
      finding: { kind: 'wrong-url', message: `what answers at ${base} is not the AgentRun API` },
      mayPass: true,
    };
  if (!(error instanceof ApiError)) return undefined;
  if (error.failureKind === 'route-not-found')
    return {
      finding: {
        kind: 'wrong-url',
        message: `the AgentRun API at ${base} does not know the route GET /api/v1/whoami below this URL: correct its path`,
      },
      mayPass: false,
    };
  if (['unauthorized', 'forbidden'].includes(error.failureKind))
    return {
      finding: {
        kind: 'token-refused',
        message: `the AgentRun API at ${base} refuses the launch token (${errorText(error)}): do API and worker read the same AGENTRUN_RUNNER_KEYS_FILE?`,
      },
      mayPass: false,
    };
  // 5xx was repeated already, and says that the API or a gateway is away.
  if (!error.failureKind.startsWith('http-') || error.status >= 500 || error.status === 429) return undefined;
  return {
    finding: {
      kind: 'wrong-url',
      message: `what answers at ${base} is not the AgentRun API: HTTP ${error.status} for GET /api/v1/whoami`,
    },
    mayPass: true,
  };
}
