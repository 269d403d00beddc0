import type { ProducedEvent } from '../../contract/events.js';
import type { ProxyObservation } from '../proxy/proxy-observation.js';

/** The `usage` event of one request that the proxy saw: its tokens (zeros when the provider told none) and its status. Pure. */
export function proxyUsageEvent(observation: ProxyObservation): ProducedEvent {
  const { usage } = observation;
  return {
    type: 'usage',
    payload: {
      source: 'proxy',
      inputTokens: usage?.inputTokens ?? 0,
      cachedInputTokens: usage?.cachedInputTokens ?? 0,
      outputTokens: usage?.outputTokens ?? 0,
      reasoningOutputTokens: usage?.reasoningOutputTokens ?? 0,
      totalTokens: usage?.totalTokens ?? 0,
      httpStatus: observation.status,
      model: observation.model,
      ended: observation.ended,
      errorCode: observation.errorCode,
      resetAt: observation.resetAtMs === null ? null : new Date(observation.resetAtMs).toISOString(),
      durationMs: observation.durationMs,
    },
  };
}
