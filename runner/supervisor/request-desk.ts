import { ApiError, backoffMs, type ClientLog, errorLine, pause } from '../../client/index.js';
import {
  type AgentRequest,
  type AgentRequestResolution,
  answerPayloadSchema,
} from '../../contract/agent-requests.js';
import type { CommandRecord } from '../../contract/commands.js';
import type { ProducedEvent } from '../../contract/events.js';
import type { Grant } from '../../contract/runners.js';
import { resolutionOf } from '../../domain/request-resolution.js';
import { isFinalRefusal } from './api-refusals.js';

const retryDelays = { baseDelayMs: 200, maxDelayMs: 5_000 };
/** What a timer can count. */
const longestTimerMs = 2 ** 31 - 1;
/** The row's time begins when the event is stored, a little after ours. */
const expiryMarginMs = 100;

export interface RequestDeskOptions {
  /** Whether a person may be asked at all (the run's approval policy). */
  readonly asks: boolean;
  /** After so long the API is asked to expire a request; 0: never. */
  readonly timeoutMs: number;
  /** Writes down, durably, that the agent is about to be told the answer to this request: it may act on it at once. */
  readonly remember: (requestId: string) => Promise<void>;
  readonly answer: (requestId: string, resolution: AgentRequestResolution) => Promise<void>;
  readonly emit: (event: ProducedEvent) => void;
  readonly acknowledge: (commandId: string) => void;
  /** What the record of a request says when its time is over: it decides, not our clock. */
  readonly expire: (requestId: string, signal: AbortSignal) => Promise<AgentRequestResolution>;
  readonly onFenced: (reason: string) => void;
  readonly log: ClientLog;
}

/**
 * What the agent of one attempt asks a person, from the question to the agent being told (docs/adr/0012). Only an answer that names the request
 * resolves it; any other message is a steer.
 */
export class RequestDesk {
  readonly #options: RequestDeskOptions;
  readonly #grants: Grant[] = [];
  readonly #open = new Map<string, AbortController>();
  /** Told to the agent, or on the way: an answer that comes again is only acknowledged. */
  readonly #answered = new Set<string>();
  #keeping = false;

  constructor(options: RequestDeskOptions) {
    this.#options = options;
  }

  /** Answers that were given while no runner waited; each is used once. */
  grant(grants: readonly Grant[]): void {
    this.#grants.push(...grants);
  }

  /** Whether the agent waits for a person. */
  get waiting(): boolean {
    return this.#open.size > 0;
  }

  asked(request: AgentRequest): void {
    const { requestId } = request;
    if (this.#open.has(requestId) || this.#answered.has(requestId)) return;
    const at = this.#grants.findIndex((grant) => grant.fingerprint === request.fingerprint);
    const [grant] = at < 0 ? [] : this.#grants.splice(at, 1);
    if (grant !== undefined) {
      void this.#tell(requestId, grant.resolution, {
        toldAs: grant.requestId,
        reason: 'answered before it was asked again',
      });
      return;
    }
    this.#options.emit({ type: 'approval_requested', payload: { ...request } });
    if (!this.#options.asks) {
      void this.#tell(requestId, { resolution: 'no-channel' }, { reason: 'the approval policy is never' });
      return;
    }
    const waiting = new AbortController();
    this.#open.set(requestId, waiting);
    if (this.#options.timeoutMs > 0) void this.#expireInTime(requestId, waiting.signal);
  }

  /** A command of type `answer`. One for a request that is not open stays as it is: the next attempt may use it. */
  answered(command: CommandRecord): void {
    const parsed = answerPayloadSchema.safeParse(command.payload);
    if (!parsed.success) {
      this.#options.log.warn({ commandId: command.id }, 'an answer does not fit the contract');
      return;
    }
    const { requestId } = parsed.data;
    if (this.#answered.has(requestId)) {
      this.#options.acknowledge(command.id);
      return;
    }
    if (!this.#open.has(requestId)) {
      this.#options.log.warn({ commandId: command.id, requestId }, 'nobody waits for this answer');
      return;
    }
    void this.#tell(requestId, resolutionOf(parsed.data), { commandId: command.id });
  }

  /** The agent waits no more, for a reason of its own. */
  closed(requestId: string): void {
    const waiting = this.#open.get(requestId);
    if (waiting === undefined) return;
    waiting.abort();
    this.#open.delete(requestId);
    if (this.#keeping) return;
    this.#options.emit({
      type: 'approval_resolved',
      payload: { requestId, resolution: 'withdrawn', reason: 'the agent waits for it no more' },
    });
  }

  /** The runner goes, the question stays: what the agent says about its requests from now on is only that it was stopped. */
  keep(): void {
    this.#keeping = true;
  }

  /** Nothing is waited for any more. */
  stop(): void {
    for (const waiting of this.#open.values()) waiting.abort();
    this.#open.clear();
  }

  async #tell(
    requestId: string,
    resolution: AgentRequestResolution,
    how: { readonly toldAs?: string; readonly commandId?: string; readonly reason?: string },
  ): Promise<void> {
    this.#open.get(requestId)?.abort();
    this.#open.delete(requestId);
    this.#answered.add(requestId);
    try {
      // From here on the agent may have acted on it, whatever the API hears: the next attempt must not use the same answer again.
      if (resolution.resolution !== 'no-channel') await this.#options.remember(how.toldAs ?? requestId);
      await this.#options.answer(requestId, resolution);
    } catch (error) {
      // The agent is gone, or will be. Whether it heard is not known, so the next attempt's agent asks anew.
      this.#options.log.warn({ requestId, ...errorLine(error) }, 'the agent was not told the answer');
      return;
    }
    if (how.commandId !== undefined) this.#options.acknowledge(how.commandId);
    this.#options.emit({
      type: 'approval_resolved',
      payload: {
        requestId: how.toldAs ?? requestId,
        resolution: resolution.resolution,
        reason: how.reason ?? (resolution.resolution === 'denied' ? resolution.text : null),
      },
    });
  }

  /** Waits for the time to be over, then does what the record says, asking for as long as the API is away. */
  async #expireInTime(requestId: string, signal: AbortSignal): Promise<void> {
    const { timeoutMs, expire, onFenced, log } = this.#options;
    for (let leftMs = timeoutMs + expiryMarginMs; leftMs > 0; leftMs -= longestTimerMs)
      await pause(Math.min(leftMs, longestTimerMs), signal);
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        const resolution = await expire(requestId, signal);
        if (!signal.aborted)
          await this.#tell(
            requestId,
            resolution,
            resolution.resolution === 'timed-out'
              ? { reason: `nobody answered within ${Math.round(timeoutMs / 1_000)} s` }
              : {},
          );
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ApiError && error.failureKind === 'fenced')
          return onFenced(`expire: ${error.failureKind}`);
        // Not found and conflict pass: the question itself may still be on its way to the record.
        const final = isFinalRefusal(error) && !['not-found', 'conflict'].includes(error.failureKind);
        const delayMs = backoffMs(
          retryDelays,
          attempt,
          error instanceof ApiError ? error.retryAfterSeconds : undefined,
        );
        log.warn({ requestId, attempt, delayMs, ...errorLine(error) }, 'the request was not expired');
        if (final) return;
        await pause(delayMs + 100, signal);
      }
    }
  }
}
