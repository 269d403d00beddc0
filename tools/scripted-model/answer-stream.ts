import type { ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Holds } from './holds.js';
import { holdLimitMs } from './holds.js';
import type { FailurePlan } from './provider-failures.js';
import type { Answer, StreamEvent } from './responses-api.js';
import { failedEvent, frame, inProgressEvent } from './responses-api.js';
import type { Step } from './scenario.js';

/** Often enough to stay below any sensible idle timeout of a client. */
const signOfLifeMs = 5_000;

/** How a stream ended: all of it sent, or as its failure wants it. */
export type StreamEnd = 'completed' | 'failed' | 'cut';

export interface Playback {
  readonly answer: Answer;
  readonly step: Step;
  readonly failure: Exclude<FailurePlan, { on: 'http' | 'connection' }> | null;
  readonly threadKey: string;
  readonly holds: Holds;
}

/**
 * Sends an answer with its pauses, holds and failures. Every wait ends at once when `signal` aborts (the client went
 * away, or the server closes).
 *
 * @throws the reason of `signal`; HoldTimeoutError.
 */
export async function playAnswer(
  response: ServerResponse,
  playback: Playback,
  signal: AbortSignal,
): Promise<StreamEnd> {
  const { answer, step, failure } = playback;
  let sequence = 0;
  const send = (events: readonly StreamEvent[]) => {
    response.write(events.map((event) => frame(event, sequence++)).join(''));
  };
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
  });
  send(answer.opening.slice(0, 1));
  if (step.hold !== undefined && step.holdAfterDeltas === 0) await hold(step.hold, playback, send, signal);
  await pause(step.firstTokenMs, signal);
  if (failure?.on === 'stream') {
    send([failedEvent(answer.responseId, failure.error)]);
    response.end();
    return 'failed';
  }
  send(answer.opening.slice(1));

  const stopAt = failure ? Math.min(failure.afterDeltas, deltaCount(answer)) : null;
  let sent = 0;
  for (const event of answer.deltas) {
    const isDelta = event.type === 'response.output_text.delta';
    if (isDelta && sent === stopAt) break;
    if (isDelta && sent > 0) await pause(step.deltaMs, signal);
    send([event]);
    if (!isDelta) continue;
    sent += 1;
    if (step.hold !== undefined && sent === step.holdAfterDeltas)
      await hold(step.hold, playback, send, signal);
  }

  if (failure?.on === 'stall') await pause(holdLimitMs, signal);
  if (failure) {
    // What is written must be out before the connection breaks, or the client sees less than the scenario says.
    await new Promise<void>((resolve) => response.write('', () => resolve()));
    response.destroy();
    return 'cut';
  }
  send(answer.closing);
  response.end();
  return 'completed';
}

function deltaCount(answer: Answer): number {
  return answer.deltas.filter((event) => event.type === 'response.output_text.delta').length;
}

async function hold(
  name: string,
  { answer, holds, threadKey }: Playback,
  send: (events: readonly StreamEvent[]) => void,
  signal: AbortSignal,
): Promise<void> {
  const alive = setInterval(() => send([inProgressEvent(answer.responseId)]), signOfLifeMs);
  try {
    await holds.wait(name, threadKey, signal);
  } finally {
    clearInterval(alive);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (ms > 0) await sleep(ms, undefined, { signal });
}
